"""Numba flags and the compilation cache, in one place.

Numba's cache notices edits of the file that defines a function, not of the functions it calls. So compiled kernels are
stored under a hash of every source that can end up inside them: an edit of any of these sources causes recompilation,
and stale code never runs.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import pickle
import platform
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, NullCache
from numba.core.cgutils import create_struct_proxy, get_or_insert_function
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.extending import intrinsic, overload

from caps_fast._parts import PartCompiler, WholeCompiler
from caps_fast.caches import cache_folder, tell_once

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGE = Path(__file__).parent
COMPILED = (
    *(
        "_jit.py",
        "_parts.py",
        "by_reference.py",
        "records.py",
        "traits.py",
        "standing.py",
        "served.py",
        "limits.py",
        "fairness.py",
        "crowd.py",
        "outcomes.py",
    ),
    *("arrays.py", "physics.py", "normal.py", "containers", "outlook.py", "reach.py"),
)
INLINE_FLAGS = {
    "nogil": True,
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": PartCompiler,
}
KERNEL_FLAGS = {"nogil": True, "error_model": "numpy", "_nrt": False, "pipeline_class": WholeCompiler}

PART = "numba"  # of cached files
logger = logging.getLogger(__name__)
CACHE_LINE = 64  # bytes; records of LIVE and GPU are two lines long
KNOWS_CMOV_CONVERTER = 22  # newest LLVM that was tested; LLVM ends the process at an option that it does not know

if platform.machine() in ("x86_64", "AMD64") and llvm.llvm_version_info[0] <= KNOWS_CMOV_CONVERTER:
    # Keep conditional moves in loops. LLVM turns them into branches where it expects good prediction, but which GPU
    # comes next cannot be predicted.
    llvm.set_option("caps-fast", "-x86-cmov-converter=false")


class CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's cache files with a digest of the code, because damaged machine code would run and give wrong results."""

    def save(self, key: Any, data: Any) -> None:
        code = dumps(data)
        super().save(key, (_digest(key, code), code))

    def _load_index(self) -> Any:
        expect_own(self._index_path)
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        expect_own(self._data_path(name))
        return super()._load_data(name)

    def load(self, key: Any) -> Any:
        found = super().load(key)
        if found is None:
            return None
        digest, code = found
        if digest != _digest(key, code):
            raise ValueError("damaged code")
        return pickle.loads(code)


def _digest(key: Any, code: bytes) -> bytes:
    return hashlib.blake2b(f"{key}".encode() + code).digest()


class OurFolder(CompileResultCacheImpl):  # type: ignore[misc]
    """Uses only the given folder. Numba's own locator falls back to other folders, such as that of the sources, where
    stale code is not detected.
    """

    _locator_classes = tuple(
        kind for kind in CompileResultCacheImpl._locator_classes if "UserProvided" in kind.__name__
    )


class NotKept(NullCache):  # type: ignore[misc]
    """No cache; a warning follows when something has been compiled."""

    about = ""

    def load_overload(self, sig: Any, target_context: Any) -> None:
        _tell_of_compiling(self.about)

    def save_overload(self, sig: Any, data: Any) -> None:
        tell_once("compiled code is", PART)


class KeptCode(FunctionCache):  # type: ignore[misc]
    """Numba's cache of compiled code, except that a damaged file is ignored and a failed write is not an error."""

    _impl_class = OurFolder
    about = ""  # for the log: what is compiled if it is not cached; "" for what takes no time

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = CheckedFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code on disk, or None.

        Numba's own method first imports the whole compiler, which takes longer than the rest.
        """
        try:
            rtsys.initialize(target_context)  # loaded code may allocate with it
            found = self._load_overload(sig, target_context)
        except Exception:  # unpickling damaged bytes can raise anything
            with suppress(OSError):
                self.flush()
            found = None
        if found is None:
            _tell_of_compiling(self.about)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)


def _tell_of_compiling(about: str) -> None:
    if about:
        logger.info("compiling the kernel for %s, once: some seconds", about)


def inlined(function: Function) -> Function:
    """Compile as part of every kernel that calls it. Without reference counting: such code must not allocate.

    Integers are converted to int64 (or uint64), so that it is compiled once, and not for every integer width and
    constant of its callers.
    """
    dispatcher: Any = numba.njit(**INLINE_FLAGS)(function)
    if numba.config.DISABLE_JIT:
        return function
    as_given = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: as_given(
        [_wide(kind) for kind in args], {name: _wide(kind) for name, kind in kws.items()}
    )
    return dispatcher  # type: ignore[no-any-return]


def _wide(kind: Any) -> Any:
    kind = types.unliteral(kind)
    return types.int64 if isinstance(kind, types.Integer) and kind.bitwidth < 64 else kind


def kernel(function: Callable[..., Any]) -> Any:
    """Compile as a separate kernel; `use_cache` stores it on disk."""
    return _as_python(function) if numba.config.DISABLE_JIT else numba.njit(**KERNEL_FLAGS)(function)


def _as_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same kernel, uncompiled: rows of plain structured arrays have no attributes, those of record arrays do."""

    def as_records(values: Any) -> Any:
        if isinstance(values, np.ndarray) and values.dtype.names:
            return values.view(np.recarray)
        return type(values)(*map(as_records, values)) if hasattr(values, "_fields") else values

    def play(*arguments: Any) -> Any:
        return function(*map(as_records, arguments))

    return play


def compiled(function: Function) -> Function:
    """Compile a small array function, cached, reference counting allowed."""
    return use_cache(numba.njit(nogil=True, error_model="numpy", pipeline_class=WholeCompiler)(function))  # type: ignore[no-any-return]


def on_one_stack(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, with all Python frames within, unless very many, on one piece of memory.

    Python takes memory for frames in pieces of 16 KiB and gives a piece back as soon as it is empty: calls across such
    an edge cost two system calls each, and Numba makes 200,000 of them while it compiles a kernel. A frame that needs
    over half a mebibyte is given a whole one, and those within it share what is left.
    """
    return _with_large_frame(function, *arguments)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


_with_large_frame = FunctionType(_call.__code__.replace(co_stacksize=(1 << 16) + 512), globals())


def overloaded(stub: Callable[..., Any]) -> Callable[[Callable[..., Any]], None]:
    """Choose the body of `stub` at compile time: the decorated function returns it, given the types of the
    arguments.
    """

    def choose(chooser: Callable[..., Any]) -> None:
        def choose_bare(*types: Any) -> Any:
            return bare(chooser(*types))

        choose_bare.__signature__ = _without_annotations(inspect.signature(stub))  # type: ignore[attr-defined]
        overload(stub, jit_options=INLINE_FLAGS)(choose_bare)

    return choose


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function without annotations, which Numba would compare."""
    plain = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    plain.__module__, plain.__qualname__, plain.__doc__ = function.__module__, function.__qualname__, function.__doc__
    return plain


def _without_annotations(signature: inspect.Signature) -> inspect.Signature:
    nothing = inspect.Parameter.empty
    parameters = [parameter.replace(annotation=nothing) for parameter in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=nothing)


def prefetch(records: Any, index: Any) -> None:
    """Prefetch an entry that will soon be written, so that the write does not wait for its cache lines."""


@intrinsic
def _prefetch(typing: Any, records: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, index = arguments
        byte, whole = ir.IntType(8), ir.IntType(32)
        data = create_struct_proxy(signature.args[0])(context, builder, records).data
        first = builder.bitcast(builder.gep(data, [index]), byte.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), whole, whole, whole])
        ask = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        for line in range(0, size, CACHE_LINE):
            builder.call(
                ask, [builder.gep(first, [whole(line)]), whole(1), whole(3), whole(1)]
            )  # to write, to keep, data
        return context.get_dummy_value()

    return types.void(records, types.int64), generate


@overloaded(prefetch)
def _in_compiled_code(*types: Any) -> Callable[..., Any]:
    def ask(records: Any, index: Any) -> None:
        _prefetch(records, index)

    return ask


def use_cache(dispatcher: Any, *sources: Path | str, about: str = "") -> Any:
    """Keep what `dispatcher` compiles next under the hash of the kernel's sources and of `sources` (a policy's
    file, its type's name).

    `about` names what is compiled in the log line that appears if it is not cached yet.
    """
    if not numba.config.DISABLE_JIT:
        dispatcher._cache = _cache_of(
            dispatcher.py_func, cache_root(), sources
        )  # as its enable_caching() does, with Numba's own
        dispatcher._cache.about = about
    return dispatcher


def _cache_of(function: Any, root: Path | None, sources: Iterable[Path | str]) -> Any:
    if root is None:
        return NotKept()
    numba.config.CACHE_DIR, numba.config.CACHE_LOCATOR_CLASSES = str(root / source_hash(*sources)), ""
    try:
        return KeptCode(function)
    except RuntimeError:  # a folder in it cannot be written to
        return NullCache()


def cache_root() -> Path | None:
    """Folder of compiled kernels; None if they are not cached."""
    return cache_folder(PART)


def expect_own(path: str) -> None:
    """Raise ValueError if a file belongs to another user, since it would be executed."""
    if os.path.exists(path) and os.stat(path).st_uid != os.geteuid():
        raise ValueError("another user's file")


def source_hash(*extra: Path | str) -> str:
    """Hash of every source that a kernel may contain, of `extra` (files, words), and of the Python and Numba
    versions.
    """
    digest = _kernel_digest().copy()
    for source in extra:
        digest.update(source.encode() if isinstance(source, str) else source.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _kernel_digest() -> hashlib._Hash:
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for name in COMPILED:
        path = PACKAGE / name
        for source in sorted(path.glob("*.py")) if path.is_dir() else (path,):
            digest.update(source.read_bytes())
    return digest
