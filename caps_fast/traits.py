"""What a run makes use of, as types: kernels are compiled for them, so that what is not used costs nothing.

Kernels ask `of_many(s)`; the answer is a constant when they are compiled, and the branch that is not taken is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from caps_fast._jit import overloaded

if TYPE_CHECKING:
    from caps_fast.arrays import State


class Yes(NamedTuple):
    """A trait that a run has."""


class No(NamedTuple):
    """A trait that a run does not have."""


class Traits(NamedTuple):
    """Traits of a run, each Yes() or No()."""

    fleet: Any  # several kinds or regions, or a placement other than residents
    terms: Any  # terms of speed and power beyond the linear ones of Eq. 1 and 2, delays outside the engine, joining that lags
    growth: Any  # KV memory that grows block by block


def traits(**has: bool) -> Traits:
    """Traits by name."""
    return Traits(**{name: Yes() if value else No() for name, value in has.items()})


def _yes(s: State) -> bool:
    return True


def _no(s: State) -> bool:
    return False


def _asked(name: str) -> Callable[[State], bool]:
    """The function that tells whether a run has the trait of that name."""

    def has(s: State) -> bool:
        return isinstance(getattr(s.traits, name), Yes)

    def choose(s: Any) -> Callable[[State], bool]:
        found = tuple(s)[s.fields.index("traits")]
        return _yes if tuple(found)[found.fields.index(name)].instance_class is Yes else _no

    overloaded(has)(choose)
    return has


of_many = _asked("fleet")
has_terms = _asked("terms")
grows = _asked("growth")
