"""The only seam between policies and the kernel: a policy is three decisions.

A policy is a NamedTuple type with its parameters as fields (floats and ints, each with a default), declared with a layout of queues, and up to
three functions:

    @policy(layout="pools")
    class MyPolicy(NamedTuple):
        margin: float = 1.0

    @rules.route(MyPolicy)
    def to_pool(policy, t_s, r, s): ...      # index of the queue that live request r joins
    @rules.order(MyPolicy)
    def by_key(policy, t_s, r, q, s): ...    # its key there, smaller goes first
    @rules.gate(MyPolicy)
    def may_start(policy, t_s, q, s): ...    # may queue q start work now? Asked at control steps

What is not registered falls back to: the queues in turn, arrival order, an open gate. `s` is the `arrays.State`; decisions may read all of it
and must not write, except that a gate may set its queue's `start_s`, `start_g_per_kwh` and `next_plan_s`. The body is chosen at compile time by the
policy's type, so a user's own policy runs as fast as ours. An edit of its file, its constants or what it imports compiles it anew; a scenario's
hash knows of the file alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from caps_fast._jit import overloaded
from caps_fast.arrays import State
from caps_fast.errors import InputError

# One queue a pool; one for all GPUs; one a GPU; or central or cyclic as the scenario's `policy.queueing` says.
Layout = Literal["pools", "central", "cyclic", "queueing"]

Rule = TypeVar("Rule", bound=Callable[..., Any])
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Traits:
    """What a policy type declares: its layout of queues, and whether Gold pre-empts in the low-latency pools (asked of the policy)."""

    layout: Layout
    preempts: Callable[[Any], bool]


TRAITS: dict[type, Traits] = {}


def policy(*, layout: Layout, preempts: Callable[[Any], bool] = lambda policy: False) -> Callable[[type[Kind]], type[Kind]]:
    """Declare the decorated NamedTuple type as a policy."""

    if layout not in get_args(Layout):
        raise InputError(f"@policy: layout {layout!r}: expected one of {', '.join(get_args(Layout))}")

    def declare(policy_type: type[Kind]) -> type[Kind]:
        if not hasattr(policy_type, "_fields"):
            raise InputError(f"@policy: {policy_type.__name__} is no NamedTuple: expected class {policy_type.__name__}(NamedTuple)")
        TRAITS[policy_type] = Traits(layout, preempts)
        return policy_type

    return declare


def is_gated(policy_type: type) -> bool:
    """Does this policy ever close a gate?"""
    return policy_type in rules.gate.rules


class Decision:
    """One of the three decisions: rules by policy type, and a default."""

    def __init__(self, default: Callable[..., Any]) -> None:
        self.default = default
        self.arguments = list(inspect.signature(default).parameters)
        self.rules: dict[type, Callable[..., Any]] = {}

    def __call__(self, policy_type: type) -> Callable[[Rule], Rule]:
        """Register the decorated function for `policy_type`."""

        def register(rule: Rule) -> Rule:
            found = list(inspect.signature(rule).parameters)
            if found != self.arguments:
                raise InputError(
                    f"policy {policy_type.__name__}: {rule.__name__}({', '.join(found)}): expected the arguments {', '.join(self.arguments)}"
                )
            self.rules[policy_type] = rule
            return rule

        return register

    def of(self, policy_type: Any) -> Callable[..., Any]:
        return self.rules.get(policy_type, self.default)


def _in_turn(policy: Any, t_s: float, r: int, s: State) -> int:
    return s.live[r].seq % s.queues.shape[0]


def _by_arrival(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    return s.live[r].arrival_s


def _always_open(policy: Any, t_s: float, q: int, s: State) -> bool:
    return True


class rules:  # noqa: N801 - reads as a namespace: rules.route(...)
    """Registers of the three decisions."""

    route = Decision(_in_turn)
    order = Decision(_by_arrival)
    gate = Decision(_always_open)


def route(policy: Any, t_s: float, r: int, s: State) -> int:
    """Index of the queue that live request `r` joins at `t_s`."""
    return rules.route.of(type(policy))(policy, t_s, r, s)


def order(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    """Key of request `r` in queue `q`; smaller goes first, ties in input order."""
    return rules.order.of(type(policy))(policy, t_s, r, q, s)


def gate(policy: Any, t_s: float, q: int, s: State) -> bool:
    """May queue `q` start work at `t_s`?"""
    return rules.gate.of(type(policy))(policy, t_s, q, s)


@overloaded(route)
def _rule_of_route(policy: Any, *others: Any) -> Callable[..., Any]:
    return rules.route.of(policy.instance_class)


@overloaded(order)
def _rule_of_order(policy: Any, *others: Any) -> Callable[..., Any]:
    return rules.order.of(policy.instance_class)


@overloaded(gate)
def _rule_of_gate(policy: Any, *others: Any) -> Callable[..., Any]:
    return rules.gate.of(policy.instance_class)
