"""The features that a run uses, as types: kernels are compiled for them, so that unused features cost nothing.

Kernels ask `of_many(s)`; the answer is a compile-time constant, and the other branch is removed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from caps_fast._jit import Function, overloaded

if TYPE_CHECKING:
    from caps_fast.arrays import State


class Yes(NamedTuple):
    """A trait that a run has."""


class No(NamedTuple):
    """A trait that a run does not have."""


class Traits(NamedTuple):
    """Traits of a run, each Yes() or No()."""

    fleet: Any  # several kinds or regions, or a placement other than residents
    # terms of speed and power beyond the linear ones of Eq. 1 and 2, delays outside the engine, joining that lags
    terms: Any
    growth: Any  # KV memory that grows block by block
    scales: Any  # a scale rule, or replicas that fail
    origins: Any  # origins of requests, regions that they are bound to, links
    timed: Any  # the order of a queue is by planned starts, before which nothing starts
    clocks: Any  # clocks that change, or a pool below the highest
    limits: Any  # limits of what may wait
    sessions: Any  # conversations, whose turns follow answers
    fair: Any  # fairness between tenants or tiers
    fails: Any  # replicas that fail


def traits(**has: bool) -> Traits:
    """Traits by name."""
    return Traits(**{name: Yes() if value else No() for name, value in has.items()})


def _yes(s: State) -> bool:
    return True


def _no(s: State) -> bool:
    return False


def _asked(name: str) -> Callable[[State], bool]:
    """The function that returns whether a run has the trait of that name."""

    def has(s: State) -> bool:
        return isinstance(getattr(s.traits, name), Yes)

    overloaded(has)(lambda s: _yes if _of_type(s, name) else _no)
    return has


def _of_type(s: Any, name: str) -> bool:
    """Whether a run whose state is of Numba's type `s` has the trait of that name."""
    found = tuple(s)[s.fields.index("traits")]
    return tuple(found)[found.fields.index(name)].instance_class is Yes


def only_if(name: str) -> Callable[[Function], Function]:
    """Compile the decorated function, whose first argument is the state `s`, for runs with that trait; for others
    it does nothing.
    """

    def declare(function: Function) -> Function:
        signature = inspect.signature(function)
        names = tuple(signature.parameters)
        code = _nothing.__code__.replace(co_argcount=len(names), co_nlocals=len(names), co_varnames=names)
        nothing = FunctionType(code, globals())

        def ask(s: Any, *others: Any) -> Any:
            return function(s, *others) if isinstance(getattr(s.traits, name), Yes) else None

        ask.__signature__ = signature  # type: ignore[attr-defined]
        overloaded(ask)(lambda s, *others: function if _of_type(s, name) else nothing)
        return ask  # type: ignore[return-value]

    return declare


def _nothing() -> None:
    return None


of_many = _asked("fleet")
has_terms = _asked("terms")
grows = _asked("growth")
scales = _asked("scales")
has_origins = _asked("origins")
is_timed = _asked("timed")
has_clocks = _asked("clocks")
limits = _asked("limits")
fair = _asked("fair")
sessions = _asked("sessions")
fails = _asked("fails")
