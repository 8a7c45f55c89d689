"""Functions of a kernel are compiled as its parts: LLVM optimises them once, within the kernel.

Numba optimises the library of every function together with all that the function calls, and makes machine code of it
for callers from Python. The 200 functions of a kernel have no such callers, and are optimised again once they are
inlined. A part keeps its LLVM code as it is; the kernel links all its parts. This saves a fifth of the CPU time of
compiling.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class Part(JITCodeLibrary):  # type: ignore[misc]
    """The code of one function, linked with nothing."""

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Its code with all that it calls, for a caller that Numba compiles in its own way."""
        return _link_callees(_module_of(self).clone(), self)


class Whole(JITCodeLibrary):  # type: ignore[misc]
    """The code of a kernel, linked with all its parts."""

    def finalize(self) -> None:
        _link_callees(self._final_module, self)
        self._linking_libraries: list[Any] = []
        super().finalize()


def _link_callees(module: Any, caller: Any) -> Any:
    """Link all that `caller` and its parts call into its module; callers first, as LLVM does not link what nothing has
    referred to yet.
    """
    for library in reversed(_with_callees(caller._linking_libraries, {})):
        module.link_in(_module_of(library), preserve=True)
        caller._reload_init.update(library._reload_init)
    return module


def _with_callees(libraries: list[Any], found: dict[Any, None]) -> dict[Any, None]:
    """`libraries` and all that their parts call, each after what it calls."""
    for library in libraries:
        if library not in found:
            if isinstance(library, Part):
                _with_callees(library._linking_libraries, found)
            found[library] = None
    return found


def _module_of(library: Any) -> Any:
    return JITCodeLibrary._get_module_for_linking(library)


@register_pass(mutates_CFG=True, analysis_only=False)
class LowerPart(NativeLowering):  # type: ignore[misc]
    """As Numba's own pass, but what stands for the function in Python has no address and cannot be called."""

    _name = "lower_part"

    def run_pass(self, state: Any) -> bool:
        state.library = Part(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        function = state["cr"].fndesc
        name = function.qualname.split(".")[-1]
        entry = _dynfunc.make_function(function.lookup_module(), name, "", 0, state["cr"].env, (state.library,))
        state.targetctx.insert_user_function(entry, function, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=entry)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class LowerWhole(NativeLowering):  # type: ignore[misc]
    """As Numba's own pass, into a `Whole`."""

    _name = "lower_whole"

    def run_pass(self, state: Any) -> bool:
        state.library = Whole(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


class PartCompiler(CompilerBase):  # type: ignore[misc]
    """Compiles a function as a part of kernels."""

    lowering: type[NativeLowering] = LowerPart

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(self.lowering, NativeLowering)
        passes.passes = [each for each in passes.passes if each[0] is not NativeLowering]
        passes.finalize()
        return [passes]


class WholeCompiler(PartCompiler):
    """Compiles a kernel."""

    lowering = LowerWhole
