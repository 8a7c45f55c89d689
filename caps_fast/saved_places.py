"""Where the live requests of a saved state are: every link, count and sum is followed and checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from caps_fast.arrays import BUSY, GOLD, LP, NONE, State
from caps_fast.containers import tournament
from caps_fast.records import Array
from caps_fast.saved_fairness import expect_owners, lines_of
from caps_fast.saved_scaling import takes_work
from caps_fast.saved_trees import expect_tree
from caps_fast.soundness import Unsound
from caps_fast.soundness import expect as _expect
from caps_fast.soundness import expect_equal as _expect_equal
from caps_fast.traits import fails, grows

WAITING, JOINING, PROMPT, CLAIMING, DECODING, MOVING = range(6)  # the place of a live request


class Places:
    """The place of every live request, and its queue or GPU, found by following all links."""

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
        """Requests in transit to a queue, the first to arrive at the root."""
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
        )  # nothing decodes in the same iteration
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
        """KV tokens of residents that do not decode and of claims; output tokens that each has yet to produce."""
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
        """The fields of residents match their GPU and their place."""
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
        """Preemptible residents are in their queue's list, each once."""
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
    """Tokens rounded up to whole blocks."""
    return -(-tokens // block) * block
