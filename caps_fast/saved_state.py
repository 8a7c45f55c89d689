"""Does a saved state make sense?

Kernels take indices, links and counts on trust: a wrong one would crash the process, or run for ever.

`RANGES` is the table of what is an index or a count: a field that a kernel uses as one belongs there. What is linked
must be a whole number of lists and heaps in which every live request stands once, and what is counted or summed must be
what is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast.arrays import BUSY, GOLD, LP, N_CATEGORIES, N_LEVELS, N_STATES, N_TIERS, NONE, State
from caps_fast.containers import tournament
from caps_fast.outcomes import OUTCOMES
from caps_fast.records import Array
from caps_fast.saved_fairness import expect_lines, expect_owners, lines_of
from caps_fast.saved_scaling import expect_clocks, expect_states, has_end, takes_work
from caps_fast.saved_sessions import expect_sessions
from caps_fast.saved_trees import expect_tree
from caps_fast.soundness import Unsound
from caps_fast.soundness import expect as _expect
from caps_fast.soundness import expect_equal as _expect_equal
from caps_fast.traits import fails, grows, has_origins
from caps_fast.workload.synthetic import TASKS

MANY = 2**62
RANGES: dict[str, dict[str, tuple[float, float | str]]] = {
    # array: field: least value, and the first that is too large: a number, or the length of that array
    "clock": {
        **{"now_s": (0, MANY), "next_control_s": (0, MANY)},
        **{
            "seq": (0, MANY),
            "touched": (0, 1),
            "dirty": (0, 1),
            "refused": (0, 1),
            "unpriced": (0, 1),
            "controls": (0, MANY),
        },
        **{"samples": (0, MANY), "events": (0, MANY), "preemptions": (0, MANY), "claims": (0, MANY), "done": (0, MANY)},
        **{"recomputed_tokens": (0, MANY), "admissions": (0, MANY)},
    },
    "queues": {
        **{"waiting": (0, MANY), "returned": (0, MANY)},
        "residents": (0, MANY),
        "prompt_tokens": (0, MANY),
        "open": (0, 2),
        "backlog": (0, 2),
        "dirty": (0, 1),
        "region": (0, "regions"),
    },
    "spans": {"open": (0, 2)},
    "gpus": {
        **{
            "prompt_counted": (0, MANY),
            "leap_iterations": (0, 2**31),
            "prompt_tokens": (0, MANY),
            "kv_tokens": (0, MANY),
        },
        **{
            "chunk": (0, MANY),
            "members": (0, "power_w"),
            "heap_len": (0, MANY),
            "residents": (0, "power_w"),
            "state": (0, N_STATES),
        },
        **{"step_s": (0, MANY), "since_s": (0, MANY), "touched": (0, 1), "barred": (0, 2)},
    },
    "standing": {"draining": (0, 2), "rested": (0, 2), "ready_s": (0, MANY)},
    "strength": {
        "serving": (0, MANY),
        "starts": (0, MANY),
        "wakes": (0, MANY),
        "clock_changes": (0, MANY),
        "clock_s": (0, MANY),
        "failures": (0, MANY),
    },
    "scaling": {"decisions": (0, MANY), "clock_decisions": (0, MANY), "fails_next": (0, "gpus")},
    "transit": {"moved": (0, MANY), "moved_tokens": (0, MANY)},
    "live": {
        **{
            "input_tokens": (1, MANY),
            "output_tokens": (1, MANY),
            "prompt_left": (0, MANY),
            "tenant": (0, MANY),
            "seq": (0, MANY),
        },
        **{
            "tier": (0, N_TIERS),
            "category": (0, N_CATEGORIES),
            "level": (0, N_LEVELS),
            "task": (0, len(TASKS)),
            "arrival_s": (0, MANY),
            "held": (0, 2),
            "admitted": (0, 2),
        },
    },
    "done": {
        "gpu": (NONE, "gpus"),
        "pool": (NONE, "pools"),
        "tier": (0, 3),
        "category": (0, 3),
        "outcome": (0, len(OUTCOMES)),
    },
    "held": {
        "arrival_s": (0, MANY),
        "input_tokens": (1, MANY),
        "output_tokens": (1, MANY),
        "tenant": (0, MANY),
        "tier": (0, 3),
        "category": (0, 3),
    },
}
FIXED = {  # a fresh state's have these values
    "gpus": ("queue", "pool"),
    "queues": ("first_gpu", "end_gpu", "first_span", "end_span", "role", "share_at", "kv_capacity_tokens"),
    "spans": ("first_gpu", "end_gpu", "region", "tree_at", "width", "kv_capacity_tokens"),
    "pools": ("slice_at", "region", "span", "max_batch"),
    "strength": ("first_gpu", "end_gpu", "keeps_clock"),
    "scaling": ("every_s", "off_after_s"),
    "regions": (
        *("carbon_first", "carbon_last", "threshold_last", "issue_first", "issue_last"),
        *("forecast_at", "leads", "forecast_step_s"),
    ),
}
WAITING, JOINING, PROMPT, CLAIMING, DECODING, MOVING = range(6)  # where a live request stands


def expect_ranges(name: str, rows: Array, state: State) -> None:
    """Raise Unsound for a value of `rows` that is out of the range that the table has for an array of this name."""
    for field, (least, end) in RANGES[name].items():
        most = len(getattr(state, end)) if isinstance(end, str) else end
        _expect((least <= rows[field]) & (rows[field] < most), f"{name}.{field}", rows[field])


def expect_sound(state: State, fresh: State, done: Array) -> None:
    """Raise Unsound for a saved state that kernels cannot go on from.

    `live` and `free` hold the used entries; `fresh` is the run's first state.
    """
    clock = state.clock[0]
    used, free = int(clock["used"]), int(clock["free"])
    _expect_equal("clock.used", used, len(state.live))
    _expect_equal("clock.free", free, len(state.free))
    _expect_equal("clock.live", int(clock["live"]), used - free)
    for name in ("clock", "queues", "spans", "gpus", "standing", "strength", "scaling", "transit"):
        expect_ranges(name, getattr(state, name), state)
    expect_ranges("done", done, state)
    for name, fields in FIXED.items():
        for field in fields:
            _expect_equal(f"{name}.{field}", getattr(state, name)[field], getattr(fresh, name)[field])
    _expect(state.free < used, "free", state.free)
    is_live = np.ones(used, bool)
    is_live[state.free] = False
    _expect_equal("free", int(is_live.sum()), used - free)
    live = state.live[is_live]
    expect_ranges("live", live, state)
    if has_origins(state):
        _expect((live["origin"] >= 0) & (live["origin"] < len(state.origins)), "live.origin", live["origin"])
    _expect(live["seq"] < clock["seq"], "live.seq", live["seq"])
    _expect(~np.isnan(live["key"]), "live.key", live["key"])
    longest = live["input_tokens"].astype(np.int64) + (live["output_tokens"] if grows(state) or fails(state) else 0)
    _expect(live["prompt_left"] <= longest, "live.prompt_left", live["prompt_left"])
    _expect_equal(
        "clock.next_control_s",
        float(clock["next_control_s"]),
        float(clock["controls"] * state.setup[0]["control_step_s"]),
    )
    _expect(np.array([clock["samples"] <= len(state.series)]), "clock.samples", state.clock["samples"])
    for at, first, last in (("carbon_at", "carbon_first", "carbon_last"), ("issue_at", "issue_first", "issue_last")):
        _expect(
            (state.regions[first] <= state.regions[at]) & (state.regions[at] <= state.regions[last]),
            f"regions.{at}",
            state.regions[at],
        )
    thresholds = state.regions["threshold_at"]
    _expect(
        (fresh.regions["threshold_at"] <= thresholds) & (thresholds <= state.regions["threshold_last"]),
        "regions.threshold_at",
        thresholds,
    )
    expect_clocks(state, fresh)
    _expect_time(state)
    expect_states(state, fresh)
    expect_lines(state, live)
    expect_sessions(state, fresh, is_live)
    _Places(state, is_live).expect_sound()


def expect_history(known: Any) -> None:
    """Raise Unsound for histories of tenants that cannot be gone on with."""
    first, count = known.ring.tolist()
    size = len(known.pending)
    _expect(np.array([0 <= first < size and 0 <= count <= size]), "history.ring", known.ring)
    _expect_equal("history.by_task", len(known.by_task), len(known.by_tenant))
    answers = known.pending[(first + np.arange(count)) % size]
    for field, most in (("tenant", len(known.by_tenant)), ("task", known.by_task.shape[1])):
        _expect((answers[field] >= 0) & (answers[field] < most), f"history.pending.{field}", answers[field])


def expect_source(state: Any) -> None:
    """Raise Unsound for a place in the workload that cannot be one."""
    for name, kinds in (("now_s", (int, float)), ("at", (int,))):
        value = state.get(name, 0)
        if type(value) not in kinds or not 0 <= value < MANY:
            raise Unsound(f"source.{name} {repr(value)[:100]}")


def expect_held(held: Array, state: State) -> None:
    """Raise Unsound for held requests that cannot be played."""
    expect_ranges("held", held, state)
    if has_origins(state):
        _expect((held["origin"] >= 0) & (held["origin"] < len(state.origins)), "held.origin", held["origin"])
    _expect(np.diff(held["arrival_s"]) >= 0, "held.arrival_s", held["arrival_s"][1:])
    _expect(held["arrival_s"] >= state.clock[0]["now_s"], "held.arrival_s", held["arrival_s"])


def _expect_time(state: State) -> None:
    """Leaps and changes of state end from now on, those of idle GPUs never, and the agenda says which is first."""
    end_s, now_s = state.leap_end_s, state.clock[0]["now_s"]
    must, may = (np.pad(some, (0, len(end_s) - len(some))) for some in has_end(state))
    _expect((end_s >= now_s) & np.where(np.isfinite(end_s), must | may, ~must), "leap_end_s", end_s)
    moving = state.gpus[state.gpus["state"] == BUSY]
    for field in ("leap_iterations", "members"):
        _expect(moving[field] >= 1, f"gpus.{field}", moving[field])
    _expect(state.gpus["since_s"] <= now_s, "gpus.since_s", state.gpus["since_s"])
    _expect(moving["step_s"] > 0, "gpus.step_s", moving["step_s"])
    width = len(end_s)
    level = np.arange(width)
    expected = [level]
    while len(level) > 1:
        left, right = level[::2], level[1::2]
        level = np.where(end_s[right] < end_s[left], right, left)
        expected.insert(0, level)
    _expect_equal("first_to_end", state.first_to_end[1:], np.concatenate(expected))


class _Places:
    """Where every live request stands: its place and its queue or GPU, found by following all links."""

    def __init__(self, state: State, is_live: Array) -> None:
        self.state, self.is_live = state, is_live.tolist()
        self.block = state.kinds[state.gpus["kind"]]["kv_block_tokens"]  # of each replica; 0 where KV is reserved
        self.held = np.zeros(len(is_live), np.int64)  # KV tokens of residents and claims
        self.place = np.full(len(is_live), NONE)
        self.owner = np.full(len(is_live), NONE)
        self.next, self.child = state.live["next"].tolist(), state.live["child"].tolist()

    def expect_sound(self) -> None:
        (name, lines, owners), gpus = lines_of(self.state), self.state.gpus
        for at, line in enumerate(
            zip(lines["head"].tolist(), lines["tail"].tolist(), lines["root"].tolist(), strict=True)
        ):
            self._list(name, WAITING, at, *line[:2])
            self._heap(f"{name}.root", WAITING, at, line[2])
        waiting = self._at(WAITING)
        expect_owners(self.state, waiting, self.owner[waiting])
        self.owner[waiting] //= owners
        self._in_transit()
        for g, gpu in enumerate(gpus):
            self._list("gpus.joiner", JOINING, g, int(gpu["joiner_head"]), int(gpu["joiner_tail"]))
            if gpu["prompt_tokens"] > 0:
                self._list("gpus.prompt", PROMPT, g, int(gpu["prompt_head"]), int(gpu["prompt_tail"]))
            self._list("gpus.claim", CLAIMING, g, int(gpu["claim_head"]), int(gpu["claim_tail"]))
            self._decoders(g, gpu)
            waited = int(gpu["waited_tail"])
            if waited != NONE and not (
                0 <= waited < len(self.place) and self.place[waited] == JOINING and self.owner[waited] == g
            ):
                raise Unsound(f"gpus.waited_tail {waited}")
        _expect_equal("live", int((self.place != NONE).sum()), int(self.state.clock[0]["live"]))
        self._expect_counts()
        self._expect_flags()
        self._expect_flexible()

    def _stand(self, what: str, r: int, place: int, owner: int) -> None:
        if not 0 <= r < len(self.is_live) or not self.is_live[r] or self.place[r] != NONE:
            raise Unsound(f"a link of {what} to {r}")
        self.place[r], self.owner[r] = place, owner

    def _list(self, what: str, place: int, owner: int, head: int, tail: int) -> None:
        last, r = head, head
        while r != NONE:
            self._stand(what, r, place, owner)
            last, r = r, self.next[r]
        if head != NONE and last != tail:
            raise Unsound(f"{what}_tail {tail}")

    def _in_transit(self) -> None:
        """Requests on their way to a queue, the first to get there at the root."""
        transit = self.state.transit[0]
        self._heap("transit.root", MOVING, NONE, int(transit["root"]))
        moving = self._at(MOVING)
        live = self.state.live[moving]
        _expect((live["gpu"] >= 0) & (live["gpu"] < len(self.state.queues)), "live.gpu", live["gpu"])
        _expect(live["key"] >= self.state.clock[0]["now_s"], "live.key", live["key"])
        _expect(live["admitted"] == 0, "live.admitted", live["admitted"])
        _expect_equal("transit.due_s", float(transit["due_s"]), float(live["key"].min(initial=np.inf)))
        if len(moving):
            _expect_equal("transit.root", float(self.state.live["key"][transit["root"]]), float(transit["due_s"]))

    def _heap(self, what: str, place: int, owner: int, root: int) -> None:
        todo = [] if root == NONE else [root]
        while todo:
            r = todo.pop()
            self._stand(what, r, place, owner)
            below = self.child[r]
            while below != NONE:  # siblings
                todo.append(below)
                if len(todo) > len(self.is_live) or not 0 <= below < len(self.is_live):
                    raise Unsound(f"a link of {what} to {below}")
                below = self.next[below]

    def _decoders(self, g: int, gpu: Any) -> None:
        size = int(gpu["heap_len"])
        if size > self.state.finish_at.shape[1]:
            raise Unsound(f"gpus.heap_len {size}")
        heap = self.state.finish_at[g, :size]
        who = (heap & np.uint64(2**32 - 1)).astype(np.int64)
        for r in who.tolist():
            self._stand("finish_at", r, DECODING, g)
        left = (heap - (np.uint64(gpu["iterations_done"]) << np.uint64(32))).view(np.int64) >> 32
        least = int(gpu["leap_iterations"]) if gpu["decoding"] else 1
        _expect((left >= least) & (left < self.state.live["output_tokens"][who]), "finish_at", left)
        at = np.arange(1, size)
        _expect((heap[at] - heap[(at - 1) // 2]).view(np.int64) > 0, "finish_at", heap[1:])
        tokens = self.state.live["input_tokens"][who].astype(np.int64) + self.state.live["output_tokens"][who] - left
        _expect_equal("gpus.context_tokens", int(gpu["context_tokens"]), int(tokens.sum()))
        if block := int(self.block[g]):
            phases = np.bincount((tokens - int(gpu["iterations_done"])) % block, minlength=self.state.phases.shape[1])
            _expect_equal("phases", self.state.phases[g], phases)
        whole_prompt = (
            gpu["chunk"] > 0 and self.state.kinds[int(gpu["kind"])]["chunk_tokens"] == 0
        )  # nothing decodes meanwhile
        if gpu["state"] == BUSY and gpu["decoding"] != (0 if whole_prompt else size):
            raise Unsound(f"gpus.decoding {gpu['decoding']}")

    def _at(self, *places: int) -> Array:
        return np.flatnonzero(np.isin(self.place, places))

    def _sums(self, requests: Array, count: int, of: Array | None = None) -> Array:
        sums = np.zeros(count, np.int64)
        np.add.at(sums, self.owner[requests], 1 if of is None else of[requests])
        return sums

    def _expect_counts(self) -> None:
        state, live = self.state, self.state.live
        gpus, queues, kinds = state.gpus, state.queues, state.kinds[state.gpus["kind"]]
        waiting, residents, claims = self._at(WAITING), self._at(JOINING, PROMPT, DECODING), self._at(CLAIMING)
        prompts = self._at(PROMPT)
        need = live["input_tokens"].astype(np.int64) + live["output_tokens"]
        victims = live["child"][claims]
        _expect((victims >= 0) & (victims < len(live)), "live.child", victims)
        _expect_equal("live.child", sorted(set(victims.tolist())), sorted(np.flatnonzero(self._giving_way()).tolist()))
        _expect_equal("live.child", len(set(victims.tolist())), len(victims))
        _expect_equal("live.child", self.owner[victims], self.owner[claims])
        self._expect_held(need, claims, victims)
        count = len(gpus)
        _expect_equal("clock.claims", int(state.clock[0]["claims"]), len(claims))
        _expect_equal("queues.waiting", queues["waiting"], self._sums(waiting, len(queues)))
        counts = grows(state) or fails(state)
        _expect_equal(
            "queues.returned", queues["returned"], self._sums(waiting, len(queues), live["admitted"]) * counts
        )
        _expect_equal("gpus.residents", gpus["residents"], self._sums(residents, count))
        _expect_equal("gpus.state", gpus["state"] == BUSY, gpus["residents"] > 0)
        _expect_equal("gpus.prompt_tokens", gpus["prompt_tokens"], self._sums(prompts, count, live["prompt_left"]))
        _expect(
            gpus["chunk"].astype(np.int64) * gpus["leap_iterations"] * (gpus["state"] == BUSY) <= gpus["prompt_tokens"],
            "gpus.chunk",
            gpus["chunk"],
        )
        _expect_equal("gpus.kv_tokens", gpus["kv_tokens"], self._sums(np.append(residents, claims), count, self.held))
        _expect(gpus["members"] <= kinds["max_batch"], "gpus.members", gpus["members"])
        without_token = residents[live["prompt_left"][residents] > 0]
        _expect_equal(
            "gpus.prompt_counted", gpus["prompt_counted"], self._sums(without_token, count, live["prompt_counted"])
        )
        full = (
            (gpus["residents"] >= kinds["max_batch"])
            | ((gpus["barred"] != 0) & (len(state.phases) > 0))
            | ~takes_work(state)
        )
        limited = kinds["kv_capacity_tokens"] > 0
        room = np.where(full, 0, np.where(limited, kinds["kv_capacity_tokens"] - gpus["kv_tokens"], tournament.FULL))
        for span in state.spans:
            here = slice(int(span["first_gpu"]), int(span["end_gpu"]))
            if here.stop - here.start > 1:
                costs = (
                    np.where(full[here], tournament.FULL, gpus["residents"][here].astype(np.int64))
                    if state.setup[0]["by_residents"]
                    else None
                )
                expect_tree("tree", state.tree, span, costs)
                if len(state.room_tree):
                    expect_tree("room_tree", state.room_tree, span, None if len(state.phases) else -room[here])
        total = np.zeros(len(queues), np.int64)
        np.add.at(total, gpus["queue"], gpus["residents"])
        _expect_equal("queues.residents", queues["residents"], total)

    def _expect_held(self, need: Array, claims: Array, victims: Array) -> None:
        """KV tokens of those that do not decode and of claims; what each has yet to produce."""
        live = self.state.live
        for r in self._at(JOINING, PROMPT):
            prompt, left = int(need[r] - live["decode_left"][r]), int(live["prompt_left"][r])
            kind, block = self.state.kinds[int(self.state.gpus["kind"][self.owner[r]])], int(self.block[self.owner[r]])
            if left > 0:
                least = 1 if grows(self.state) or fails(self.state) else int(live["output_tokens"][r])
                _expect(
                    np.array([least <= live["decode_left"][r] <= live["output_tokens"][r]]),
                    "live.decode_left",
                    live["decode_left"][r : r + 1],
                )
            if block:
                first = min(prompt, int(kind["chunk_tokens"])) if kind["chunk_tokens"] else prompt
                self.held[r] = _blocks(max(first, prompt - left), block)
        residents = self._at(JOINING, PROMPT, DECODING)
        reserved = residents[self.block[self.owner[residents]] == 0]
        self.held[reserved] = need[reserved]
        self.held[claims] = live["prompt_counted"][claims]
        _expect(self.held[claims] >= 0, "live.prompt_counted", self.held[claims])
        fixed = self.block[self.owner[claims]] == 0
        beside = np.maximum(need[claims] - need[victims], 0)
        _expect_equal("live.prompt_counted", self.held[claims][fixed], beside[fixed])

    def _expect_flags(self) -> None:
        """Residents know their GPU and what they do there."""
        live = self.state.live
        residents, members = self._at(JOINING, PROMPT, DECODING), self._at(PROMPT, DECODING)
        _expect_equal("live.gpu", live["gpu"][residents], self.owner[residents])
        _expect_equal("live.admitted", live["admitted"][residents], np.ones(len(residents)))
        _expect_equal("live.joined", live["joined"][members], np.ones(len(members)))
        for place, holds in (
            (PROMPT, live["prompt_left"] > 0),
            (DECODING, live["prompt_left"] == 0),
            (JOINING, live["joined"] == 0),
        ):
            _expect(holds[self._at(place)], "live.prompt_left or live.joined", live["prompt_left"][self._at(place)])
        resumed = self._at(JOINING, WAITING)
        resumed = resumed[(live["prompt_left"] == 0)[resumed]]
        left = live["decode_left"][resumed]
        _expect((left >= 1) & (left < live["output_tokens"][resumed]), "live.decode_left", left)
        _expect(live["admitted"][resumed] == 1, "live.admitted", live["admitted"][resumed])

    def _giving_way(self) -> Array:
        found = np.zeros(len(self.place), bool)
        residents = self._at(JOINING, PROMPT, DECODING)
        found[residents] = self.state.live["giving_way"][residents] != 0
        return found

    def _expect_flexible(self) -> None:
        """Residents that may have to give way stand in their queue's list of them, each once."""
        state, live = self.state, self.state.live
        residents = self._at(JOINING, PROMPT, DECODING)
        queue_of = state.gpus["queue"][self.owner[residents]]
        may = (
            (state.queues["role"][queue_of] == LP) & (live["tier"][residents] != GOLD) & ~self._giving_way()[residents]
        )
        wanted = set(residents[may].tolist()) if state.setup[0]["preempts"] else set()
        queue = dict(zip(residents.tolist(), queue_of.tolist(), strict=True))
        before, after = live["flexible_prev"].tolist(), live["flexible_next"].tolist()
        for q, tail in enumerate(state.queues["flexible_tail"].tolist()):
            r, following = tail, NONE
            while r != NONE:
                if r not in wanted or queue[r] != q or after[r] != following:
                    raise Unsound(f"a link of queues.flexible_tail to {r}")
                wanted.remove(r)
                r, following = before[r], r
        if wanted:
            raise Unsound(f"queues.flexible_tail without {min(wanted)}")


def _blocks(tokens: Any, block: int) -> Any:
    """So many tokens in whole blocks."""
    return -(-tokens // block) * block
