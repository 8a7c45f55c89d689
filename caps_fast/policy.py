"""The only interface between policies and the kernel: a policy is a few decisions and a memory.

A policy is a NamedTuple type with its parameters as fields (numbers, each with a default), declared with a layout of
queues, and up to seven functions:

    @policy(layout="pools")
    class MyPolicy(NamedTuple):
        margin: float = 1.0

    @rules.route(MyPolicy)
    def to_pool(policy, t_s, r, s): ...      # at arrival: index of the queue that live request r joins
    @rules.order(MyPolicy)
    def by_key(policy, t_s, r, q, s): ...    # at arrival: its key there, smaller first
    @rules.place(MyPolicy)
    def cost(policy, g, s): ...              # when replica g's load has changed: the cost of joining it
    @rules.gate(MyPolicy)
    def may_start(policy, t_s, q, s): ...    # at control steps: whether queue q may start work in s.queues[q].region
    @rules.scale(MyPolicy)
    def enough(policy, t_s, p, s): ...       # every `policy.scale_every_s`: replicas of pool p that may take work
    @rules.clock(MyPolicy)
    def fast(policy, t_s, p, s): ...         # then: pool p's clock over the highest (rounded up to a level)
    @rules.observe(MyPolicy)
    def learn(policy, t_s, r, s): ...        # at a completion: update the memory, no return value

Defaults of decisions without a rule: the queues in turn, arrival order, the scenario's placement, an open gate, all
replicas on, the clock unchanged, nothing. `s` is the `arrays.State`; decisions may read all of it and write only to
their memory: `@policy(memory=...)` gives rows of a dtype, `s.memory[q]` one per queue (or tenant, or replica, or pool:
`rows`) and `s.run_memory[0]` one for the run. They are zero when a run starts, are kept in checkpoints and belong to
one run. The body is chosen at compile time by the policy's type, so a user's own policy runs as fast as ours. An edit
of its file, its constants or its imports recompiles it; a scenario's hash covers only the file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numba import types

from caps_fast._jit import overloaded
from caps_fast.arrays import FASTEST, PROMPTS, RESIDENTS, State
from caps_fast.callable_module import calls
from caps_fast.errors import InputError
from caps_fast.records import Record, dtype_of

# One queue per pool; one for all replicas; one per replica; or central or cyclic as the scenario's `policy.queueing`
# says.
Layout = Literal["pools", "central", "cyclic", "queueing"]
# What a row of a policy's memory stands for, or a function of the policy that returns the number of rows.
RowOf = Literal["queue", "tenant", "replica", "pool"]
MemoryRows = RowOf | Callable[[Any], int]

Rule = TypeVar("Rule", bound=Callable[..., Any])
PolicyType = TypeVar("PolicyType")
FASTER = 8192.0  # a rank weighs more than any number of residents
NO_MEMORY = np.dtype([("nothing", "i1")])


@dataclass(frozen=True)
class Traits:
    """The declaration of a policy type.

    layout      its layout of queues
    preempts    function of the policy: whether Gold pre-empts in the low-latency pools
    memory      dtype of its memory
    rows        what a row of its memory stands for; for a policy combined of two, for each of them
    timed       whether `order` returns a planned start, before which the request waits
    like        the `policy.placement` most similar to its place rule: its SLO risk is learned with that one
    within      fields with an exclusive lower and upper limit
    """

    layout: Layout
    preempts: Callable[[Any], bool]
    memory: np.dtype[Any]
    rows: tuple[MemoryRows, ...]
    timed: bool = False
    like: str | None = None
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)


TRAITS: dict[type, Traits] = {}


def policy(
    *,
    layout: Layout,
    preempts: Callable[[Any], bool] = lambda policy: False,
    memory: type[Record] | np.dtype[Any] | list[tuple[Any, ...]] | None = None,
    rows: MemoryRows = "queue",
    timed: bool = False,
    like: str | None = None,
    within: Mapping[str, tuple[float, float]] | None = None,
) -> Callable[[type[PolicyType]], type[PolicyType]]:
    """Declare the decorated NamedTuple type as a policy.

    `memory` lists the fields of its memory: a structured dtype, a description that `numpy.dtype` accepts, or an
    `arrays.Record` type. If a policy is `timed`, its `order` returns a time: a request starts at the first control step
    from then at the earliest, or at once if that time is not after it joins its queue; such a policy has no gate. If it
    is `like` a placement, its SLO risk is learned with that one, not the scenario's. Fields `within` bounds are
    rejected outside. Raises InputError.
    """
    if layout not in get_args(Layout):
        raise InputError(f"@policy: layout {layout!r}: expected one of {', '.join(get_args(Layout))}")
    if not callable(rows) and rows not in get_args(RowOf):
        raise InputError(f"@policy: rows {rows!r}: expected one of {', '.join(get_args(RowOf))}")
    traits = Traits(layout, preempts, _memory_of(memory), (rows,), timed, like, within or {})

    def declare(policy_type: type[PolicyType]) -> type[PolicyType]:
        if not hasattr(policy_type, "_fields"):
            raise InputError(
                f"@policy: {policy_type.__name__} is not a NamedTuple: expected class "
                f"{policy_type.__name__}(NamedTuple)"
            )
        TRAITS[policy_type] = traits
        return policy_type

    return declare


def is_gated(policy_type: type) -> bool:
    """Whether this policy can close a gate."""
    return policy_type in rules.gate.rules


def scales(policy_type: type) -> bool:
    """Whether this policy has a scale rule."""
    return policy_type in rules.scale.rules


def sets_clocks(policy_type: type) -> bool:
    """Whether this policy has a clock rule."""
    return policy_type in rules.clock.rules


def _memory_of(memory: Any) -> np.dtype[Any]:
    if memory is None:
        return NO_MEMORY
    try:
        dtype = (
            dtype_of(memory)
            if isinstance(memory, type) and issubclass(memory, Record)
            else np.dtype(memory, align=True)
        )
    except TypeError as error:
        raise InputError(
            f"@policy: memory {memory!r}: {error}; expected fields and their types, like [('tokens', 'f8')]"
        ) from None
    if not dtype.names or dtype.hasobject:
        raise InputError(
            f"@policy: memory {memory!r}: expected fields of numbers and their types, like [('tokens', 'f8')]"
        )
    return dtype


@dataclass
class Decision:
    """One decision: its name, the default for policies without a rule, what a rule returns, and the rules by policy
    type.
    """

    name: str
    default: Callable[..., Any]
    answers: str
    answer_types: tuple[type, ...]
    rules: dict[type, Callable[..., Any]] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        return list(inspect.signature(self.default).parameters)

    def __call__(self, policy_type: type) -> Callable[[Rule], Rule]:
        """Register the decorated function for `policy_type`."""

        def register(rule: Rule) -> Rule:
            found = list(inspect.signature(rule).parameters)
            if found != self.arguments:
                raise InputError(
                    f"policy {policy_type.__name__}: {rule.__name__}({', '.join(found)}): expected the arguments "
                    f"{', '.join(self.arguments)}"
                )
            self.rules[policy_type] = rule
            return rule

        return register

    def of(self, policy_type: Any) -> Callable[..., Any]:
        """The rule of a policy type, or the default."""
        return self.rules.get(policy_type, self.default)

    def asked(self) -> Callable[..., Any]:
        """The function that kernels call; its body is the rule of its first argument's type."""

        def ask(policy: Any, *others: Any) -> Any:
            return self.of(type(policy))(policy, *others)

        ask.__signature__ = inspect.signature(self.default)  # type: ignore[attr-defined]
        overloaded(ask)(lambda policy, *others: self.of(policy.instance_class))
        return ask


def _in_turn(policy: Any, t_s: float, r: int, s: State) -> int:
    return s.live[r].seq % s.queues.shape[0]


def _by_arrival(policy: Any, t_s: float, r: int, q: int, s: State) -> float:
    return s.live[r].arrival_s


def _by_placement(policy: Any, g: int, s: State) -> float:
    gpu = s.gpus[g]
    placement = s.setup[0].placement
    residents = float(gpu.residents)
    if placement == RESIDENTS:
        return residents
    if placement == PROMPTS:
        return s.setup[0].tokens_per_resident * residents + gpu.prompt_counted
    if placement == FASTEST:
        return s.kinds[gpu.kind].rank * FASTER + residents
    return -residents if residents < s.kinds[gpu.kind].pack_below else residents


def _always_open(policy: Any, t_s: float, q: int, s: State) -> bool:
    return True


def _all_replicas(policy: Any, t_s: float, p: int, s: State) -> int:
    return s.strength[p].end_gpu - s.strength[p].first_gpu


def _as_it_is(policy: Any, t_s: float, p: int, s: State) -> float:
    return s.changes[s.strength[p].kind].clock


def _nothing(policy: Any, t_s: float, r: int, s: State) -> None:
    return None


DECISIONS = {
    one.name: one
    for one in (
        Decision("route", _in_turn, "the index of a queue", (types.Integer,)),
        Decision("order", _by_arrival, "a number", (types.Number,)),
        Decision("place", _by_placement, "a number", (types.Number,)),
        Decision("gate", _always_open, "True or False", (types.Boolean, types.Number)),
        Decision("scale", _all_replicas, "a whole number", (types.Integer,)),
        Decision("clock", _as_it_is, "a number", (types.Number,)),
        Decision("observe", _nothing, "nothing", (types.NoneType,)),
    )
}


class rules:  # noqa: N801 - reads as a namespace: rules.route(...)
    """Registers of the decisions."""

    route = DECISIONS["route"]
    order = DECISIONS["order"]
    place = DECISIONS["place"]
    gate = DECISIONS["gate"]
    scale = DECISIONS["scale"]
    clock = DECISIONS["clock"]
    observe = DECISIONS["observe"]


route, order, place, gate, scale, clock, observe = (decision.asked() for decision in DECISIONS.values())

calls(__name__, "policy")  # for `from caps_fast import policy`
