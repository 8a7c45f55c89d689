"""The arrays in which a simulation lives. No logic.

Times are seconds from the start of the run, power is watts, energy joules, carbon grams, intensity g/kWh, lengths tokens.
A link (`next`, `child`, ...) is the index of another live request, or NONE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar, get_type_hints, overload

import numpy as np

Array = np.ndarray[Any, Any]

NONE = -1
LP, CP, BP = 0, 1, 2
GOLD, SILVER, BRONZE = 0, 1, 2
J_PER_KWH = 3.6e6
SLACK = 1.0 + 1e-6  # limits count as kept to one part in a million: latencies are differences of absolute times, which are rounded
SECONDS_PER_DAY = 86400.0


f8 = Annotated[float, "f8"]
i8 = Annotated[int, "i8"]
i4 = Annotated[int, "i4"]
i2 = Annotated[int, "i2"]
i1 = Annotated[int, "i1"]
u4 = Annotated[int, "u4"]


class Record:
    """A row of a structured array. A subclass lists its fields in order; kernels read and write them as attributes."""

    if TYPE_CHECKING:

        def __getitem__(self, field: str) -> Any: ...
        def __setitem__(self, field: str, value: Any) -> None: ...


R = TypeVar("R", bound=Record)

if TYPE_CHECKING:

    class Rows(np.ndarray[Any, Any], Generic[R]):
        """A structured array: a row by its index, a whole field by its name."""

        @overload  # type: ignore[override]
        def __getitem__(self, at: int) -> R: ...
        @overload
        def __getitem__(self, at: str | slice | Array | tuple[slice | int | Array, ...]) -> Any: ...
        def __getitem__(self, at: Any) -> Any: ...

else:

    class Rows(Generic[R]):
        """A structured array."""


def dtype_of(record: type[Record]) -> np.dtype[np.void]:
    """The aligned dtype of a record."""
    fields = get_type_hints(record, include_extras=True)
    return np.dtype([(name, kind.__metadata__[0]) for name, kind in fields.items()], align=True)


def zeros(record: type[R], *shape: int) -> Rows[R]:
    """Rows of a record, all fields 0."""
    rows: Rows[R] = np.zeros(shape, dtype_of(record))  # type: ignore[assignment]
    return rows


class Request(Record):
    """One arriving request, as a workload hands it over."""

    arrival_s: f8
    predicted_tokens: f8  # n_out_hat
    input_tokens: i4
    output_tokens: i4
    tenant: i4
    turns: i2
    tier: i1
    category: i1
    task: i1


class Live(Record):
    """One request in the system: two cache lines, the first of which is enough while it waits."""

    arrival_s: f8
    predicted_tokens: f8
    key: f8  # queue order, smaller first
    seq: i8  # input order
    input_tokens: i4
    output_tokens: i4
    prompt_left: i4  # prompt tokens not yet processed
    next: i4  # sibling in its queue, or successor among a GPU's joiners, prompts or claims
    child: i4  # first child in a queue's heap; a claimant's victim
    tenant: i4
    turns: i2
    tier: i1
    category: i1
    task: i1
    level: i1  # carbon level at arrival: low, mid, high
    held: i1
    admitted: i1  # has been; all that follows is only set then
    released_s: f8
    admitted_s: f8  # first admission
    first_token_s: f8  # nan before
    energy_j: f8  # attributed; of a member, less its GPU's energy per member so far
    carbon_g: f8
    prompt_counted: i4  # prompt_left at the last admission
    decode_left: i4  # output tokens not yet produced, kept while not decoding
    flexible_prev: i4  # neighbours among the non-Gold residents of a low-latency pool
    flexible_next: i4
    gpu: i4
    giving_way: i1
    joined: i1  # is a member of its GPU's iterations


class Gpu(Record):
    """One serving replica and the leap that it is in."""

    leap_start_s: f8
    step_s: f8  # first iteration's length
    energy_per_member_j: f8  # running sums since it was last idle
    carbon_per_member_g: f8
    iterations_done: i8  # decode iterations, the clock of `finish_at`
    leap_iterations: i8
    context_tokens: i8  # of the decoding sequences
    prompt_tokens: i8  # unprocessed prompt tokens of joined prompts
    kv_tokens: i8  # reserved
    chunk: i4  # prompt tokens an iteration of this leap
    members: i4
    decoding: i4  # members that decode; 0 while a whole prompt is taken
    residents: i4
    heap_len: i4
    prompt_head: i4
    prompt_tail: i4
    joiner_head: i4
    joiner_tail: i4
    claim_head: i4
    claim_tail: i4
    queue: u4
    pool: u4
    running: i1
    touched: i1


class Queue(Record):
    """One queue and the GPUs first_gpu .. end_gpu - 1 that it serves."""

    first_gpu: i4
    end_gpu: i4
    role: i4
    slots: i4  # of its GPUs
    per_gpu: f8  # 1 / GPUs
    head: i4  # of the sorted run
    tail: i4
    root: i4  # of the pairing heap beside it
    flexible_tail: i4  # the non-Gold resident that was admitted last
    open: i1
    backlog: i1  # held work is waiting
    dirty: i1
    waiting: i8
    waiting_prompt_tokens: i8
    waiting_predicted_tokens: f8
    residents: i8
    prompt_tokens: i8  # of residents without a first token: what they had left when admitted
    reopened_s: f8  # when the gate last opened
    start_s: f8  # predicted start of work that comes now
    start_g_per_kwh: f8  # forecast intensity there
    next_plan_s: f8
    share_at: i8


class Pool(Record):
    """Accounts of one pool."""

    energy_j: f8
    carbon_g: f8
    busy_s: f8
    busy_intensity: f8  # integral of intensity over busy time, g/kWh s
    member_s: f8
    requests: i8


class Cell(Record):
    """Accounts by carbon level, category and tier."""

    requests: i8
    finished: i8
    met: i8
    output_tokens: i8
    good_tokens: i8
    held: i8
    held_tokens: i8
    energy_j: f8
    carbon_g: f8
    deferral_s: f8
    ttft_s: f8  # sums over finished requests
    ttft_after_release_s: f8
    tpot_s: f8  # of those with more than one output token
    e2e_s: f8


class Clock(Record):
    """Where the simulation stands, and what the controller saw at the last control step."""

    now_s: f8
    g_per_kwh: f8  # intensity in force, and since and until when it is
    intensity_from_s: f8
    intensity_until_s: f8
    gamma: f8
    threshold: f8
    next_control_s: f8
    controls: i8
    carbon_at: i8  # its sample
    threshold_at: i8
    issue_at: i8
    cursor: i8  # next request of the block
    seq: i8
    live: i8
    used: i8  # entries of `live` that have ever been
    free: i8  # of these, those that may be used again
    touched: i8
    dirty: i8
    claims: i8  # places claimed, not yet taken
    done: i8
    samples: i8
    last_completion_s: f8
    preemptions: i8
    events: i8
    refused: i8  # 1 + seq of the first request that the policy sent nowhere or gave no key; 0 = none
    refused_queue: i8  # where it was sent


class Setup(Record):
    """What does not change in a run."""

    prefill_s_per_token: f8
    decode_base_s: f8
    decode_s_per_seq: f8
    decode_s_per_context_token: f8
    control_step_s: f8
    sample_step_s: f8  # of the recorded series; inf = none
    forecast_step_s: f8
    mean_input_tokens: f8
    mean_output_tokens: f8
    service_s: f8  # of an average request on a full GPU
    mean_gamma: f8
    average_request: f8  # unit of E: J g/kWh of an average request alone on a GPU at the mean intensity
    low_g_per_kwh: f8  # edges of the carbon levels
    high_g_per_kwh: f8
    kv_capacity_tokens: i8
    chunk_tokens: i8  # 0 = unchunked
    max_batch: i4
    preempts: i1
    gated: i1
    record: i1  # append finished requests to `done`


class Tier(Record):
    """Limits of one SLO tier; inf where it has none."""

    ttft_s: f8
    tpot_s: f8
    e2e_s: f8
    ttft_after_release_s: f8
    deadline_s: f8
    roles: i8  # bit set of the roles it may enter


class Done(Record):
    """One finished request, for per-request output."""

    seq: i8
    arrival_s: f8
    released_s: f8
    admitted_s: f8
    first_token_s: f8
    finished_s: f8
    energy_j: f8
    carbon_g: f8
    input_tokens: i4
    output_tokens: i4
    tenant: i4
    gpu: i4
    pool: i4
    tier: i1
    category: i1
    met: i1


class Sample(Record):
    """One pool at one instant of the recorded series."""

    t_s: f8
    gamma: f8
    energy_j: f8  # busy energy so far
    busy_s: f8  # GPU seconds busy so far
    residents: i8
    waiting: i8
    open: i1


REQUEST = dtype_of(Request)
LIVE = dtype_of(Live)
GPU = dtype_of(Gpu)
QUEUE = dtype_of(Queue)
POOL = dtype_of(Pool)
CELL = dtype_of(Cell)
CLOCK = dtype_of(Clock)
SETUP = dtype_of(Setup)
TIER = dtype_of(Tier)
DONE = dtype_of(Done)
SAMPLE = dtype_of(Sample)

HISTOGRAMS = ("ttft", "ttft_after_release", "tpot", "e2e")
TTFT, TTFT_AFTER_RELEASE, TPOT, E2E = range(4)
SUB_BIN_BITS = 8
SUB_BINS = 1 << SUB_BIN_BITS  # bins an octave: a bin is less than 0.4 % wide
OCTAVES = 40
FIRST_EXPONENT = -14  # values below 2**-14 s (61 us) fall into the first bin
HISTOGRAM_BINS = SUB_BINS * OCTAVES


class Risk(NamedTuple):
    """The learned SLO-risk model: odds of a miss as a product of three tables over bins; empty where the closed form is used."""

    edges: Array  # float64 (5, n), upper bin edges of input, output, residents, waiting, ahead; padded with inf
    guide: Array  # uint16 (5, cells): where a search for a bin begins
    request: Array  # float64 (12, bins, bins): tier * 3 + role, input, output
    queue: Array  # float64 (36, bins, bins): (tier * 3 + role) * 3 + gate, residents, waiting
    prompts: Array  # float64 (36, bins, bins): the same, residents, ahead


class State(NamedTuple):
    """All arrays of one simulation. Kernels mutate them in place."""

    clock: Rows[Clock]  # CLOCK (1,)
    setup: Rows[Setup]  # SETUP (1,)
    tiers: Rows[Tier]  # TIER (4,): gold, silver, bronze, and their mean
    queues: Rows[Queue]  # QUEUE (n_queues,)
    gpus: Rows[Gpu]  # GPU (n_gpus,)
    pools: Rows[Pool]  # POOL (n_pools,)
    live: Rows[Live]  # LIVE (capacity,): requests in the system, among the first clock.used
    free: Array  # uint32 (capacity,): entries of `live` to be used again, a stack of clock.free
    power_w: Array  # float64 (max_batch + 1,): Eq. 2 by members
    share_w: Array  # float64: from a queue's `share_at` on, what one more request would draw there by those present, P(u) / batch
    finish_at: Array  # uint64 (n_gpus, max_batch): heap of the decode iterations at which sequences end, with whose they are
    leap_end_s: Array  # float64 (width,): when each GPU's leap ends
    first_to_end: Array  # uint32 (2 width,): tournament of these
    tree: Array  # int64: tournaments of residents, one a queue
    room_tree: Array  # int64: the same of minus free KV tokens; empty where KV is not limited
    places: Array  # int64 (n_queues, 2): where each queue's tree begins and how wide it is
    touched: Array  # uint32 (n_gpus,): GPUs between iterations at this instant
    dirty: Array  # uint32 (n_queues,): queues to dispatch at this instant
    carbon_s: Array  # float64 (n_samples,): sample times
    carbon_g_per_kwh: Array  # float64 (n_samples,)
    carbon_integral: Array  # float64 (n_samples,): integral of intensity up to each sample, g/kWh s
    threshold_s: Array  # float64 (n_thresholds,)
    threshold_g_per_kwh: Array
    issued_s: Array  # float64 (n_issues,)
    forecast_g_per_kwh: Array  # float64 (n_issues, n_leads)
    block: Rows[Request]  # REQUEST (n,): the requests to feed
    done: Rows[Done]  # DONE (n,): finished requests since the last call
    cells: Rows[Cell]  # CELL (27,): level * 9 + category * 3 + tier
    histograms: Array  # int64 (3, 4, HISTOGRAM_BINS): tier, latency, bin
    series: Any  # SAMPLE (n_samples, n_pools)
