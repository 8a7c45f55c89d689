"""The containers against what they replace: tournaments against NumPy's minimum, heaps and queues against sorted
lists.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caps_fast import arrays, records
from caps_fast._jit import kernel
from caps_fast.arrays import NONE, Array
from caps_fast.containers import agenda, decoders, queue, thinking, tournament
from caps_fast.crowd import Crowd, Session, Thinking
from caps_fast.fairness import Fairness, Line, Turn
from caps_fast.traits import Traits, traits

KEYS = st.one_of(st.sampled_from([-math.inf, 0.0, 1.0, 2.0]), st.floats(-1e9, 1e9))


@kernel
def put_all(tree, spans, leaves, values, found):
    """Set leaves of the second span one by one; after each, the smallest value and where it is go to `found`."""
    for i in range(leaves.shape[0]):
        tournament.put(tree, spans[1], leaves[i], values[i])
        found[i, 0] = tournament.key_of(tournament.root(tree, spans[1]))
        found[i, 1] = tournament.leaf_of(tournament.root(tree, spans[1]))


class Ends(NamedTuple):
    """The two arrays of a simulation that an agenda lives in."""

    leap_end_s: Array
    first_to_end: Array


@kernel
def put_ends(s, gpus, times_s, found_g, found_s):
    """Set the ends of leaps one by one; after each, the first and whose it is go to `found_s` and `found_g`."""
    for i in range(gpus.shape[0]):
        agenda.put(s, gpus[i], times_s[i])
        found_g[i] = agenda.first(s)
        found_s[i] = agenda.first_end_s(s)


class Decoding(NamedTuple):
    """The two arrays of a simulation that the heap of a GPU's decoding sequences lives in."""

    gpus: Array
    finish_at: Array


@kernel
def push_and_remove(s, requests, iterations, found):
    """Push request `requests[i]` with so many iterations left on GPU 1; where it is NONE, let the first end, whose
    iterations pass; note who it is and how long it had.
    """
    for i in range(requests.shape[0]):
        if requests[i] != NONE:
            decoders.push(s, 1, iterations[i], requests[i])
        else:
            found[i, 0] = decoders.who(s, 1, 0)
            found[i, 1] = decoders.left(s, 1, 0)
            s.gpus[1]["iterations_done"] += found[i, 1]
            decoders.remove(s, 1, 0)


class Waiting(NamedTuple):
    """The arrays of a simulation that a queue lives in, without fairness."""

    queues: Array
    live: Array
    traits: Traits
    fairness: Array
    lines: Array
    turns: Array
    in_line: Array


@kernel
def push_and_pop(s, entries, keys, taken):
    """Push entry `entries[i]` with key `keys[i]`, or, where it is NONE, pop; what was taken goes to `taken`."""
    for i in range(entries.shape[0]):
        r = entries[i]
        if r == NONE:
            r = queue.peek(s, 0)
            taken[i] = r
            queue.pop(s, 0, r)
        else:
            s.live[r]["key"] = keys[i]
            s.live[r]["seq"] = i
            queue.push(s, 0, r)


WHOLE_NUMBERS = st.one_of(st.integers(0, 3), st.integers(-(2**31), 2**31 - 1))  # residents, minus free tokens
LEAVES = st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 128, 129, 512, 513, 700]))
TIMES = st.one_of(st.sampled_from([0.0, 1.0, math.inf]), st.floats(0, 1e9))


@given(data=st.data(), leaves=LEAVES)
def test_a_tournament_finds_the_first_smallest(data: st.DataObject, leaves: int) -> None:
    puts = data.draw(st.lists(st.tuples(st.integers(0, leaves - 1), WHOLE_NUMBERS), min_size=1, max_size=200))
    first = data.draw(st.lists(WHOLE_NUMBERS, min_size=leaves, max_size=leaves))
    spans = records.zeros(arrays.Span, 3)
    sizes = [3, leaves, 5]  # neither the first nor the last of its array
    tree, spans["tree_at"], spans["width"] = tournament.build_trees(sizes)
    planted, own = tree.copy(), slice(spans["tree_at"][1], spans["tree_at"][2])
    again = [(0, 0), *enumerate(first), *puts]  # the first put changes nothing: it shows what was planted
    found = np.zeros((len(again), 2), np.int64)
    put_all(tree, spans, np.array([leaf for leaf, _ in again]), np.array([value for _, value in again]), found)
    plain = np.zeros(leaves, np.int64)
    for (leaf, value), (smallest, where) in zip(again, found, strict=True):
        plain[leaf] = value
        assert smallest == plain.min()
        assert where == plain.argmin()
    planted[own] = tree[own]
    assert (tree == planted).all(), "wrote into its neighbour"


@given(data=st.data(), gpus=LEAVES)
def test_an_agenda_tells_the_first_end(data: st.DataObject, gpus: int) -> None:
    puts = data.draw(st.lists(st.tuples(st.integers(0, gpus - 1), TIMES), min_size=1, max_size=200))
    s = Ends(*agenda.plan(gpus))
    found_g, found_s = np.zeros(len(puts) + 1, np.int64), np.zeros(len(puts) + 1)
    again = [(gpus - 1, math.inf), *puts]  # the first put changes nothing
    put_ends(s, np.array([g for g, _ in again]), np.array([end_s for _, end_s in again]), found_g, found_s)
    plain = np.full(gpus, math.inf)
    for (g, end_s), first, first_s in zip(again, found_g, found_s, strict=True):
        plain[g] = end_s
        assert first == plain.argmin()
        assert first_s == plain.min()


@given(data=st.data(), done=st.sampled_from([0, 2**31 - 3, 2**32 - 2, 10**12]))
def test_decoders_end_in_order_however_many_iterations_were_before(data: st.DataObject, done: int) -> None:
    """The count and the heap keep 32 bits of it, which may go round between a push and the end."""
    capacity = 12
    gpus = np.zeros(3, arrays.GPU)
    gpus["iterations_done"] = done % 2**32
    s = Decoding(gpus, np.full((3, capacity), 7, np.uint64))
    actions = data.draw(st.lists(st.one_of(st.none(), st.integers(1, 4), st.just(2**31 - 1)), max_size=60))
    live: list[tuple[int, int]] = []
    now = 0
    requests, iterations, expected = [], [], []
    for r, action in enumerate(actions):
        if action is None and live:
            end, who = min(live)
            live.remove((end, who))
            requests.append(NONE)
            iterations.append(0)
            expected.append((who, end - now))
            now = end
        elif action is not None and len(live) < capacity:
            live.append((now + action, r))
            requests.append(r)
            iterations.append(action)
            expected.append((0, 0))
    found = np.zeros((len(requests), 2), np.int64)
    push_and_remove(s, np.array(requests, np.int64), np.array(iterations, np.int64), found)
    assert found.tolist() == [list(pair) for pair in expected]
    assert gpus["heap_len"].tolist() == [0, len(live), 0]
    assert (s.finish_at[[0, 2]] == 7).all(), "wrote into its neighbour"


@given(data=st.data())
def test_queue_gives_in_order_of_key_then_input(data: st.DataObject) -> None:
    """Entries are used again once popped, as live requests are; sorted arrival, random keys and a front of minus
    infinity all occur.
    """
    capacity = 40
    actions = data.draw(st.lists(st.one_of(KEYS, st.none()), max_size=150))
    rising = data.draw(st.booleans())
    live = np.zeros(capacity, arrays.LIVE)
    live["prompt_left"] = np.arange(1, capacity + 1)
    live["predicted_tokens"] = 0.5 * np.arange(capacity)
    live["next"] = live["child"] = 7  # leftovers of an earlier use must not matter
    free = list(range(capacity))
    model: list[tuple[float, int, int]] = []
    entries, keys, expected = [], [], []
    for i, action in enumerate(actions):
        if action is None and model:
            model.sort()
            free.append(model.pop(0)[2])
            entries.append(NONE)
            keys.append(0.0)
            expected.append(free[-1])
        elif free:
            key = float(i) if rising or action is None else action
            entry = free.pop(data.draw(st.integers(0, len(free) - 1)))
            entries.append(entry)
            keys.append(key)
            expected.append(NONE)
            model.append((key, len(entries) - 1, entry))
    queues = records.zeros(arrays.Queue, 1)
    queues["head"] = queues["tail"] = queues["root"] = NONE
    taken = np.full(len(entries), NONE)
    unfair = (records.zeros(Fairness, 1), records.zeros(Line, 0), records.zeros(Turn, 0), np.zeros(0, np.uint32))
    s = Waiting(queues, live, traits(**dict.fromkeys(Traits._fields, False)), *unfair)
    push_and_pop(s, np.array(entries, np.int64), np.array(keys, np.float64), taken)
    assert taken.tolist() == expected
    left = [entry for _, _, entry in model]
    assert queues[0]["waiting"] == len(left)
    assert queues[0]["waiting_prompt_tokens"] == live["prompt_left"][left].sum()
    assert queues[0]["waiting_predicted_tokens"] == live["predicted_tokens"][left].sum()


class People(NamedTuple):
    """The arrays of a simulation that its thinking sessions live in."""

    crowd: Array
    sessions: Array
    thinking: Array


@kernel
def think(people, sessions, due_s, popped):
    """Let each session think until its time; before each that is negative take one out. The rest follows at the end."""
    taken = 0
    for i in range(sessions.shape[0]):
        if sessions[i] < 0:
            popped[taken] = thinking.pop(people)
            taken += 1
        else:
            thinking.push(people, due_s[i], sessions[i])
    while people.crowd[0].thinking > 0:
        popped[taken] = thinking.pop(people)
        taken += 1


@given(data=st.data())
def test_sessions_are_due_in_order_the_lower_number_first(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    due_s = np.array(data.draw(st.lists(st.integers(0, 5), min_size=2 * count, max_size=2 * count)), float)
    people = People(records.zeros(Crowd, 1), records.zeros(Session, count), records.zeros(Thinking, count))
    people.sessions["number"] = data.draw(st.permutations(range(count)))
    waiting: list[tuple[float, int, int]] = []
    steps, expected = [], []
    for session in range(count):
        if waiting and data.draw(st.booleans()):
            steps.append(-1)
            expected.append(min(waiting)[2])
            waiting.remove(min(waiting))
        waiting.append((due_s[len(steps)], int(people.sessions["number"][session]), session))
        steps.append(session)
    popped = np.full(count, NONE)
    think(people, np.array(steps), due_s, popped)
    assert popped.tolist() == expected + [session for _, _, session in sorted(waiting)]
