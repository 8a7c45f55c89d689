"""The policy of a scenario: built in or from a user's file, with the scenario's weights as fields; compiled once."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np
from numba._dispatcher import compute_fingerprint
from numba.core.errors import NumbaExperimentalFeatureWarning

from caps_fast import _jit, scenario
from caps_fast.arrays import State
from caps_fast.engine.loop import advance
from caps_fast.errors import InputError, did_you_mean, reason_of
from caps_fast.files import open_regular
from caps_fast.pack_origins import expect_longitudes
from caps_fast.policies import BUILT_IN, OTHERS, SCALERS
from caps_fast.policy import DECISIONS, NO_MEMORY, TRAITS, Traits, scales

HINTS = {
    "<class 'function'>": "decorate it with numba.njit",
    "NRT required": "a rule may not make lists, dictionaries or arrays",
}
_compiling = Lock()
_compiled: set[tuple[type, bytes]] = set()


def make_policy(config: scenario.Scenario) -> Any:
    """The policy of a scenario, its fields filled from the scenario's weights and options. Raises InputError.

    A built-in policy ignores options that it has no field for: they belong to another policy of the same study
    (`check_options`).
    """
    chosen = config.policy
    if chosen.name == "follow-the-sun":
        expect_longitudes(config)
    policy = _from_file(*chosen.own) if chosen.own else _built_in(chosen.name)
    if chosen.own_placement:
        policy = _combined(policy, _from_file(*chosen.own_placement), ("place",), "placement")
    if chosen.scaling != "none":
        policy = _scaled(policy, config)
    given = {
        "alpha": chosen.alpha,
        "beta": chosen.beta,
        "lambda_": chosen.lambda_,
        "risk_sharpness": chosen.risk_sharpness,
    }
    given |= {"plan_every_s": chosen.plan_every_s, "plan_margin": chosen.plan_margin}
    if chosen.name == "caps-no-carbon":
        given["beta"] = 0.0
    if chosen.own or chosen.own_placement or chosen.own_scaling:
        _check_fields(chosen.options, policy._fields)
    fields = {name: value for name, value in (given | chosen.options).items() if name in policy._fields}
    policy = policy._replace(**{name: _of_kind(getattr(policy, name), name, value) for name, value in fields.items()})
    for name, (low, high) in TRAITS[type(policy)].within.items():
        if not low < getattr(policy, name) < high:
            below = f" and below {high:g}" if high < math.inf else ""
            raise InputError(f"policy.options.{name} {getattr(policy, name):g}: expected above {low:g}{below}")
    return policy


def _scaled(policy: Any, config: scenario.Scenario) -> Any:
    """The policy with the scale and clock rules that `policy.scaling` names. Raises InputError."""
    decided: set[str] = set()
    for name in config.policy.scalings:
        part = SCALERS[name] if name in SCALERS else _from_file(*(config.policy.own_scaling or (name, None)))
        own = {decision for decision in ("scale", "clock") if type(part) in DECISIONS[decision].rules}
        if own & decided:
            raise InputError(
                f"policy.scaling {config.policy.scaling}: {name} conflicts with another part: expected one scale rule "
                "and one clock rule"
            )
        if own == {"clock"} and all(len(kind.clocks) == 1 for kind in config.fleet.kinds.values()):
            raise InputError(
                f"policy.scaling {name}: no kind of replica has clocks: expected some, like gpu.clocks = [0.6, "
                "0.8, 1.0]"
            )
        policy = _combined(policy, part, ("scale", "clock"), "scaling")
        decided |= own
    return policy


def check_options(configs: Iterable[scenario.Scenario]) -> None:
    """Raise InputError for an option that is a field of no policy among the scenarios'."""
    configs = list(configs)
    fields = dict.fromkeys(field for config in configs for field in make_policy(config)._fields)
    for config in configs:
        _check_fields(config.policy.options, fields)


def _check_fields(options: Iterable[str], fields: Iterable[str]) -> None:
    unknown = sorted(set(options) - set(fields))
    if unknown:
        hint = did_you_mean(unknown[0], fields)
        expected = ", ".join(fields) or "no options"
        raise InputError(f"policy.options.{unknown[0]}{hint}: unknown option; expected {expected}")


def _of_kind(default: Any, name: str, value: float) -> Any:
    """The value of an option, of the type of its field's default: a whole number, a float, true or false."""
    if isinstance(default, int | float) and type(default)(value) == value:
        return type(default)(value)
    expected = {bool: "0 or 1", int: "a whole number", float: "a number"}.get(
        type(default), "another field; this one is not a number"
    )
    raise InputError(f"policy.options.{name} {value:g}: expected {expected}")


def layout_of(policy: Any, config: scenario.Scenario) -> str:
    """The layout of queues that the policy declares, or `policy.queueing` if it leaves that to the scenario.

    Raises InputError for a layout that cannot be scaled.
    """
    layout = TRAITS[type(policy)].layout
    found = config.policy.queueing or "central" if layout == "queueing" else layout
    if found == "cyclic" and scales(type(policy)):
        raise InputError(
            f"policy.scaling {config.policy.scaling}: policy {config.policy.name} has one queue per replica (cyclic); "
            "expected a policy with the layout central or pools"
        )
    return found


def compile_for(policy: Any, state: State) -> None:
    """Compile the kernel for the policy's type, once; on disk under the hash of the kernel's sources and the
    policy's file.

    Raises InputError where a user's policy does not compile.
    """
    if numba.config.DISABLE_JIT:
        return
    kind = (
        type(policy),
        compute_fingerprint((state, policy)),
    )  # shorthand for Numba's own type inference, which takes a millisecond
    with _compiling:
        if kind in _compiled:
            return
        source = Path(inspect.getfile(type(policy)))
        _jit.use_cache(advance, source, type(policy).__name__, about=type(policy).__qualname__)
        signature = (numba.typeof(state), numba.typeof(policy), numba.float64, numba.boolean)
        try:
            with warnings.catch_warnings():
                # two policies share rules and one remembers more: the row of the one begins with that of the other
                warnings.filterwarnings("ignore", "Record.*considered a subtype", NumbaExperimentalFeatureWarning)
                _jit.on_one_stack(advance.compile, signature)
        except Exception as error:  # Numba passes on exceptions of a rule's own names
            raise InputError(
                f"{source.name}: policy {type(policy).__qualname__} does not compile: {_reason(policy, state) or error}"
            ) from None
        _compiled.add(kind)


def _reason(policy: Any, state: State) -> str | None:
    """The first of the policy's rules that does not compile by itself or returns a wrong type, and the reason."""
    kinds = {"policy": numba.typeof(policy), "t_s": numba.float64, "s": numba.typeof(state)}
    for decision in DECISIONS.values():
        rule = decision.of(type(policy))
        line = rule.__code__.co_firstlineno
        try:
            alone: Any = _jit.inlined(_jit.bare(rule))
            alone.compile(tuple(kinds.get(name, numba.int64) for name in decision.arguments))
            returned = alone.nopython_signatures[0].return_type
            if not isinstance(returned, decision.answer_types):
                return f"line {line}: {decision.name} returns {_short(str(returned))}: expected {decision.answers}"
        except Exception as error:
            said = [
                text.strip()
                for text in str(error).splitlines()
                if text.strip() and "nopython mode pipeline" not in text
            ]
            at = re.search(rf'{re.escape(Path(rule.__code__.co_filename).name)}", line (\d+)', str(error))
            told = said[0] if said else type(error).__name__
            hint = next((f" ({hint})" for sign, hint in HINTS.items() if sign in told), "")
            return f"line {at[1] if at else line}: {decision.name}: {_short(told)}{hint}"
    return None


def _short(text: str) -> str:
    """Without the definitions of the state's types, which fill pages."""
    return re.sub(r"\b(State|array|Array|Record)\(.*", r"\1", text)


def _digest(content: bytes, module: ModuleType) -> str:
    """Hash of everything that a user's rules are compiled from: the file, its constants, and the modules that it
    imports names from.
    """
    digest = hashlib.sha256(content)
    for name, value in sorted(vars(module).items()):
        if isinstance(value, bool | int | float | str | tuple) and not name.startswith("__"):
            digest.update(f"{name}={value!r}".encode())
        home = sys.modules.get(str(getattr(value, "__module__", None) or getattr(value, "__name__", "")))
        path = getattr(home, "__file__", None)
        if home is not module and path and path.endswith(".py"):
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:8]


def _combined(policy: Any, part: Any, decisions: Sequence[str], option: str) -> Any:
    """The policy with another's rules for some decisions: a new type with the fields and memories of both.

    Raises InputError.
    """
    kind, other = type(policy), type(part)
    taken = [name for name in decisions if other in DECISIONS[name].rules]
    if not taken:
        raise InputError(
            f"policy.{option}: {other.__qualname__} has no {decisions[0]} rule: expected a type with "
            f"@rules.{decisions[0]}"
        )
    both = sorted(set(policy._fields) & set(part._fields))
    kept = [] if NO_MEMORY in (TRAITS[kind].memory, TRAITS[other].memory) else _names(kind) & _names(other)
    if both or kept:
        shared = f"a field {both[0]}" if both else f"a field {min(kept)} of their memory"
        raise InputError(
            f"policy.{option}: {other.__qualname__} and the policy both have {shared}: expected it in only one of them"
        )
    name, module = f"{kind.__name__}_{other.__name__}", sys.modules[kind.__module__]
    if not hasattr(module, name):
        combined: Any = NamedTuple(name, [(field, Any) for field in (*policy._fields, *part._fields)])  # type: ignore[misc]
        combined.__module__ = kind.__module__
        within = {**TRAITS[kind].within, **TRAITS[other].within}
        TRAITS[combined] = replace(TRAITS[kind], within=within, **_memory_of_both(TRAITS[kind], TRAITS[other]))
        for one in DECISIONS.values():
            source = other if one.name in taken else kind
            if source in one.rules:
                one.rules[combined] = one.rules[source]
        setattr(module, name, combined)  # where Numba's cache looks it up
    return getattr(module, name)(*policy, *part)


def _names(kind: type) -> set[str]:
    """Fields of a policy's memory."""
    return set(TRAITS[kind].memory.names or ())


def _memory_of_both(one: Traits, other: Traits) -> dict[str, Any]:
    """Combined memory of two policies: the fields of both, and as many rows as either needs."""
    used = [traits for traits in (one, other) if traits.memory != NO_MEMORY]
    fields = [(name, traits.memory[name]) for traits in used for name in traits.memory.names or ()]
    memory = np.dtype(fields, align=True) if fields else NO_MEMORY
    return {"memory": memory, "rows": tuple(rows for traits in used for rows in traits.rows) or one.rows}


def _built_in(name: str) -> Any:
    if name in OTHERS:
        return OTHERS[name]
    if name not in BUILT_IN:
        known = [*BUILT_IN, *OTHERS]
        expected = f"{', '.join(known)}, main, ablations, all, or your own Python file (FILE.py)"
        raise InputError(f"policy {name!r}{did_you_mean(name, known)}: expected some of {expected}")
    return BUILT_IN[name]


def _from_file(path: str, name: str | None) -> Any:
    """The policy that a Python file declares: its only one, or the one of type `name`."""
    try:
        with open_regular(path) as stream:
            content = stream.read()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({reason_of(error)}); expected a Python file that defines a policy"
        ) from None
    module_name = f"caps_fast_policy_{hashlib.sha256(content).hexdigest()[:16]}"
    module = sys.modules.get(module_name)
    if module is None:
        module = ModuleType(module_name)
        module.__file__ = path
        sys.modules[module_name] = module
        try:
            # Not by a loader, which would use a stale compiled file of the same time and size.
            exec(compile(content, path, "exec", dont_inherit=True), vars(module))
        except (Exception, SystemExit) as error:
            del sys.modules[module_name]
            if isinstance(error, InputError):
                raise InputError(f"{path}: {error}") from None
            raise InputError(f"{path}: {type(error).__name__} while loading the policy: {error}") from None
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module_name and kind in TRAITS
    ]
    wanted = [kind for kind in found if name in (None, kind.__qualname__)]
    if len(wanted) != 1:
        names = ", ".join(kind.__qualname__ for kind in found) or "none"
        raise InputError(
            f"{path}: policy {name or 'of this file'}: expected one type declared with @policy ({path}:Type); the "
            f"file declares {names}"
        )
    kind: Any = wanted[0]
    held = next(
        (name for name, value in kind._field_defaults.items() if not isinstance(value, bool | int | float)), None
    )
    if held:
        raise InputError(
            f"{path}: policy {kind.__qualname__}: field {held} = {kind._field_defaults[held]!r}: expected a number; "
            "values that change during a run belong in the policy's memory, @policy(memory=...)"
        )
    # Numba identifies types by this name, so an edited policy is a different type
    kind.__name__ = f"{kind.__qualname__}_{_digest(content, module)}"
    try:
        return kind()
    except TypeError as error:
        raise InputError(f"{path}: {kind.__qualname__}: every field needs a default ({error})") from None
