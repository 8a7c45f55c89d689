"""The arrays that hold the state of a simulation. No logic.

Times are seconds from the start of the run, power is watts, energy joules, carbon grams, intensity g/kWh, lengths
tokens. A link (`next`, `child`, ...) is the index of another live request, or NONE.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from caps_fast.crowd import Crowd, Session, Thinking
from caps_fast.fairness import Fairness, Line, Turn
from caps_fast.limits import Limits
from caps_fast.outcomes import Done
from caps_fast.records import Array, Record, Rows, dtype_of, f8, i1, i2, i4, i8, u2, u4
from caps_fast.served import Origin, Region, Tier, Transit
from caps_fast.standing import Change, Life, Scaling, Standing, Strength
from caps_fast.traits import Traits

NONE = -1
LP, CP, BP = 0, 1, 2
N_ROLES = 3
GOLD, SILVER, BRONZE = 0, 1, 2
ANY_TIER = 3  # the row of `tiers` for requests of any tier
N_LEVELS, N_CATEGORIES, N_TIERS = 3, 3, 3
N_CELLS = N_LEVELS * N_CATEGORIES * N_TIERS
IDLE, BUSY, WAKING, STARTING, ASLEEP, OFF, STOPPING, FAILED = range(8)  # in the order in which a growing pool uses them
STATES = ("idle", "busy", "waking", "starting", "asleep", "off", "stopping", "failed")
N_STATES = len(STATES)
RESIDENTS, PROMPTS, PACK, FASTEST = 0, 1, 2, 3
J_PER_KWH = 3.6e6
SLACK = (
    1.0 + 1e-6
)  # limits are compared with a tolerance of 1e-6: latencies are differences of absolute times, which are rounded
SECONDS_PER_DAY = 86400.0


class Request(Record):
    """One arriving request, as a workload yields it."""

    arrival_s: f8
    predicted_tokens: f8  # n_out_hat
    input_tokens: i4
    output_tokens: i4
    tenant: i4
    turns: i2  # -1 - kind: not a request but a session of that kind starts
    tier: i1
    category: i1
    task: i1
    origin: i1  # row of `origins`


class Live(Record):
    """One request in the system: two cache lines, the first of which is enough while it waits."""

    arrival_s: f8
    predicted_tokens: f8
    key: f8  # queue order, smaller first; of a resident, where KV grows, the number of its admission
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
    admitted: i1  # has been; the fields below are only set then
    released_s: f8
    admitted_s: f8  # first admission
    first_token_s: f8  # nan before
    energy_j: f8  # attributed; of a member, less its GPU's energy per member so far
    carbon_g: f8
    prompt_counted: (
        i4  # prompt_left at the last admission; of a claimant, KV tokens claimed in addition to the victim's
    )
    decode_left: (
        i4  # output tokens not yet produced, kept while not decoding: the others are part of the prompt, or resumed
    )
    flexible_prev: i4  # neighbours among the non-Gold residents of a low-latency pool
    flexible_next: i4
    gpu: i4
    giving_way: i1
    joined: i1  # is a member of its GPU's iterations
    met: i1  # its SLO, once it has finished
    origin: i1


class Gpu(Record):
    """One serving replica and the leap that it is in: two cache lines."""

    since_s: f8  # start of its leap, or of its idle time
    step_s: f8  # first iteration's length
    energy_per_member_j: f8  # running sums since it was last idle
    carbon_per_member_g: f8
    context_tokens: i8  # of the decoding sequences
    prompt_tokens: i8  # unprocessed prompt tokens of joined prompts
    kv_tokens: i8  # reserved; or where KV grows, held by who does not decode
    prompt_counted: i8  # prompt tokens of residents without a first token: what they had left when admitted
    iterations_done: u4  # decode iterations, the clock of `finish_at`; goes round
    leap_iterations: i4
    chunk: i4  # prompt tokens an iteration of this leap
    prompt_head: i4
    prompt_tail: i4
    joiner_head: i4
    joiner_tail: i4
    waited_tail: i4  # joiner up to which all have waited for an iteration, where joining lags
    claim_head: i4
    claim_tail: i4
    queue: u4
    pool: u4
    members: i2
    decoding: i2  # members that decode; 0 while a whole prompt is taken
    residents: i2
    heap_len: i2
    kind: u2
    state: i1  # an index of STATES
    touched: i1
    barred: i1  # admits nobody until its next iteration has ended: its memory was too small


class Kind(Record):
    """A kind of replica at one of its clocks: speed, limits, power."""

    prefill_s_per_token: f8
    decode_base_s: f8
    decode_s_per_seq: f8
    decode_s_per_context_token: f8
    overhead_s: f8
    overlap_exponent: f8
    mixed_s_per_context_token: f8
    prefill_s_per_token_pair: f8
    first_token_overhead_s: f8
    prefill_w: f8  # of a replica; 0 = as Eq. 2
    service_s: f8  # of an average request on a full replica
    kv_capacity_tokens: i8  # 0 = no limit
    chunk_tokens: i8  # 0 = unchunked
    power_at: i8  # where its powers by members begin in `power_w`; members = 0 is idle
    max_batch: i4
    pack_below: i4  # residents up to which PACK fills it
    rank: i4  # 0 = the fastest kind
    kv_block_tokens: i4  # 0 = KV is reserved
    lag_iterations: i4


class Queue(Record):
    """One queue and the replicas first_gpu .. end_gpu - 1 that it serves."""

    first_gpu: i4
    end_gpu: i4
    first_span: i4
    end_span: i4
    role: i4
    kind: i4  # of its replicas, where they are of one kind, as in the layout `pools`; else of the first
    region: i4  # of the replicas whose gate is being evaluated
    slots: i4  # of its replicas that neither drain nor have failed; of the first, if there are none
    per_gpu: f8  # 1 / those replicas
    head: i4  # of the sorted run
    tail: i4
    root: i4  # of its pairing heap
    flexible_tail: i4  # the non-Gold resident that was admitted last
    open: i1  # in at least one of its regions
    backlog: i1  # held work is waiting
    dirty: i1
    waiting: i8
    returned: i8  # waiting requests that were admitted before; counted where KV grows or replicas fail
    waiting_prompt_tokens: i8
    waiting_predicted_tokens: f8
    residents: i8
    prompt_tokens: i8  # of residents without a first token: what they had left when admitted
    kv_capacity_tokens: i8  # of its largest replica; 0 = no limit
    reopened_s: f8  # when the gate last opened
    share_at: i8


class Span(Record):
    """Neighbouring replicas first_gpu .. end_gpu - 1 of one queue in one region, and their tournaments."""

    first_gpu: i4
    end_gpu: i4
    region: i4
    open: i1
    tree_at: i8
    width: i8  # leaves of the tournament
    kv_capacity_tokens: i8  # of its largest replica; 0 = no limit


class Pool(Record):
    """One pool: its region, and what its replicas did besides drawing power."""

    g_per_kwh: f8  # intensity in force in its region, and the time since which it is
    intensity_from_s: f8
    member_s: f8
    requests: i8
    slice_at: i8  # its slices begin at this, less the number of its first sample
    region: i4
    span: i4  # of its queue, where that has several replicas
    max_batch: i4


class Account(Record):
    """Time, energy and carbon of a pool's replicas in one state."""

    seconds: f8
    energy_j: f8
    carbon_g: f8
    sliced_s: f8  # the part of these that is in `slices`
    sliced_j: f8


class Slice(Record):
    """Time and energy of a pool's replicas in one state during one sample of the region's trace."""

    seconds: f8
    energy_j: f8


class Cell(Record):
    """Accounts by carbon level, category and tier."""

    requests: i8
    finished: i8
    rejected: i8
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
    """Progress of the simulation."""

    now_s: f8
    intensity_until_s: f8  # when the intensity of a region changes next
    next_control_s: f8
    controls: i8
    cursor: i8  # next request of the block
    seq: i8
    live: i8
    used: i8  # entries of `live` that have ever been used
    free: i8  # of these, entries that are free
    touched: i8
    dirty: i8
    claims: i8  # places claimed, not yet taken
    admissions: i8  # counted where KV grows
    done: i8
    samples: i8
    last_completion_s: f8
    preemptions: i8
    recomputed_tokens: i8  # whose KV was lost
    events: i8
    refused: i8  # 1 + seq of the first request whose routing or key cannot be followed; 0 = none
    refused_queue: i8  # where it was sent
    unpriced: i8  # 1 + the first replica whose cost of joining is not a number; 0 = none


class Setup(Record):
    """What does not change in a run."""

    control_step_s: f8
    sample_step_s: f8  # of the recorded series; inf = none
    horizon_s: f8  # end of the arrivals
    mean_input_tokens: f8
    mean_output_tokens: f8
    average_request: f8  # unit of E: J g/kWh of an average request alone on a replica at the mean intensity
    low_g_per_kwh: f8  # edges of the carbon levels
    high_g_per_kwh: f8
    least_chunk_tokens: i8  # least KV memory that an admission takes where KV grows, except for shorter prompts
    tokens_per_resident: f8  # PROMPTS: tokens that a resident counts as
    placement: i4  # RESIDENTS, PROMPTS, PACK or FASTEST
    by_residents: i1  # the cost of joining a replica is its number of residents
    limits_kv: i1  # a kind has a limit of KV tokens
    preempts: i1
    gated: i1
    watches_prompts: i1  # a replica's cost depends on its prompts
    record: i1  # append finished requests to `done`


class Sample(Record):
    """One pool at one instant of the recorded series."""

    t_s: f8
    gamma: f8
    energy_j: f8  # so far, in all states
    residents: i8
    waiting: i8
    replicas: Annotated[Array, f"{N_STATES + 1}i8"]  # by state; at N_STATES draining replicas
    open: i1


REQUEST = dtype_of(Request)
LIVE = dtype_of(Live)
GPU = dtype_of(Gpu)
POOL = dtype_of(Pool)
CELL = dtype_of(Cell)
CLOCK = dtype_of(Clock)
DONE = dtype_of(Done)

HISTOGRAMS = ("ttft", "ttft_after_release", "tpot", "e2e")
TTFT, TTFT_AFTER_RELEASE, TPOT, E2E = range(4)
SUB_BIN_BITS = 8
SUB_BINS = 1 << SUB_BIN_BITS  # bins per octave: a bin is less than 0.4 % wide
OCTAVES = 40
FIRST_EXPONENT = -14  # values below 2**-14 s (61 us) fall into the first bin
HISTOGRAM_BINS = SUB_BINS * OCTAVES


class State(NamedTuple):
    """All arrays of one simulation. Kernels mutate them in place."""

    traits: Traits
    limits: Rows[Limits]  # (3,): limits of what may wait, by the tier of the arrival
    fairness: Rows[Fairness]  # (1,)
    lines: Rows[Line]  # (n_queues * owners,); empty without fairness, as are those below
    turns: Rows[Turn]  # (n_queues,)
    in_line: Array  # uint32 (n_queues * owners,): owners that wait, the first `turns.owners` of each queue
    charged: Array  # int32 (n_gpus,): iterations of the leap in progress whose tokens are counted
    crowd: Rows[Crowd]  # (kinds of sessions,), one at least
    sessions: Rows[Session]  # (capacity,): among the first crowd.used; empty without sessions, as are those below
    thinking: Rows[Thinking]  # (capacity,): heap of the crowd.thinking sessions that think
    spare: Array  # uint32 (capacity,): sessions that are over, a stack of crowd.spare
    session_of: Array  # int32 (capacity of `live`,); NONE of a request by itself
    tokens: Array  # float64 (2 kinds, cells + 1): what a turn adds, and an answer, by score
    scaling: Rows[Scaling]  # (1,)
    standing: Rows[Standing]  # (n_gpus,)
    strength: Rows[Strength]  # (n_pools,)
    changes: Rows[Change]  # (n_kinds,)
    lives: Rows[Life]  # (n,): replica by replica; empty where none fails
    clock: Rows[Clock]  # (1,)
    setup: Rows[Setup]  # (1,)
    tiers: Rows[Tier]  # (4,): gold, silver, bronze, and their mean
    origins: Rows[Origin]  # (n_origins,)
    transit: Rows[Transit]  # (1,)
    rtt_s: Array  # float64 (n_origins, n_regions): round-trip times, s
    # float64 (n_regions, n_regions): from, to: transfer time (s) and energy (J) of the context of an input token
    move_s: Array
    move_j: Array
    link_j: Array  # float64 (samples of all regions,): energy of links attributed to a region, J, by its carbon sample
    queues: Rows[Queue]  # (n_queues,)
    spans: Rows[Span]  # (n_spans,): in the order of their queues
    gpus: Rows[Gpu]  # (n_gpus,)
    kinds: Rows[Kind]  # (n_kinds,)
    regions: Rows[Region]  # (n_regions,)
    pools: Rows[Pool]  # (n_pools,)
    accounts: Rows[Account]  # (n_pools * n_states,)
    slices: Rows[Slice]  # (sum over pools of the samples of their region * n_states,)
    live: Rows[Live]  # (capacity,): requests in the system, among the first clock.used
    free: Array  # uint32 (capacity,): free entries of `live`, a stack of clock.free
    power_w: Array  # float64: Eq. 2 by kind and members
    prompt_w: Array  # float64: the same while only prompts are processed; empty where all clocks are the highest
    # float64: from a queue's `share_at` on, what one more request would draw there by clock and those present, P(u) /
    # batch
    share_w: Array
    finish_at: (
        Array  # uint64 (n_gpus, max_batch): heap of the decode iterations at which sequences end, each with its request
    )
    decode_s: Array  # float64: memory and compute time of iterations that only decode, by kind and sequences
    # int32 (n_gpus, most block tokens), where KV grows: decoding sequences by when they need their next block
    phases: Array
    leap_end_s: Array  # float64 (width,): when each GPU's leap ends
    first_to_end: Array  # uint32 (2 width,): tournament of these
    tree: Array  # int64: tournaments of the cost of joining a replica, one per span
    room_tree: Array  # int64: tournaments of minus the free KV tokens; empty where KV is not limited
    touched: Array  # uint32 (n_gpus,): GPUs between iterations at this instant
    dirty: Array  # uint32 (n_queues,): queues to dispatch at this instant
    carbon_s: Array  # float64: sample times, region by region
    carbon_g_per_kwh: Array  # float64
    seen_g_per_kwh: Array  # float64: the signal that decisions are made on, at the same times
    carbon_integral: Array  # float64: integral of intensity up to each sample, g/kWh s
    threshold_s: Array  # float64, region by region
    threshold_g_per_kwh: Array
    issued_s: Array  # float64: issues of the forecasts, region by region
    forecast_g_per_kwh: Array  # float64: issue by issue, `leads` slots each
    block: Rows[Request]  # (n,): the requests to feed
    done: Rows[Done]  # (n,): finished requests since the last call
    cells: Rows[Cell]  # (27,): level * 9 + category * 3 + tier
    histograms: Array  # int64 (3, 4, HISTOGRAM_BINS): tier, latency, bin
    series: Any  # SAMPLE (n_samples, n_pools)
    memory: Any  # the policy's dtype (rows of its choice,)
    run_memory: Any  # the policy's dtype (1,)
