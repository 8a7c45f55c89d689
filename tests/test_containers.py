"""The containers against what they replace: a tournament against NumPy's minimum, a queue against a sorted list."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caps_fast import arrays
from caps_fast._jit import kernel
from caps_fast.arrays import NONE, Array
from caps_fast.containers import queue, tournament

KEYS = st.one_of(st.sampled_from([-math.inf, 0.0, 1.0, 2.0]), st.floats(-1e9, 1e9))


@kernel
def put_all(tree, place, leaves, values, found):
    """Set leaves one by one; after each, the smallest value and where it is go to `found`."""
    for i in range(leaves.shape[0]):
        tournament.put(tree, place, leaves[i], values[i])
        found[i, 0] = tournament.winner(tree, place)["key"]
        found[i, 1] = tournament.winner(tree, place)["leaf"]


class Waiting(NamedTuple):
    """The two arrays of a simulation that a queue lives in."""

    queues: Array
    live: Array


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


WHOLE_NUMBERS = st.one_of(st.integers(0, 3), st.integers(-(10**9), 0), st.just(tournament.NEVER))  # residents, free tokens, nothing
TIMES = st.one_of(st.sampled_from([0.0, 1.0, math.inf]), st.floats(0, 1e9)).map(lambda t_s: int(np.float64(t_s).view(np.int64)))


LEAVES = st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 128, 129, 512, 513, 700]))


@given(data=st.data(), leaves=LEAVES, values=st.sampled_from([WHOLE_NUMBERS, TIMES]))
def test_a_tournament_finds_the_first_smallest(data: st.DataObject, leaves: int, values: st.SearchStrategy[int]) -> None:
    puts = data.draw(st.lists(st.tuples(st.integers(0, leaves - 1), values), min_size=1, max_size=200))
    first = data.draw(st.lists(values, min_size=leaves, max_size=leaves))
    tree, places = tournament.plant([np.zeros(3, np.int64), np.array(first), np.zeros(5, np.int64)])  # neither the first nor the last of its array
    found = np.zeros((len(puts) + 1, 2), np.int64)
    again = [(0, first[0]), *puts]  # the first put changes nothing: it shows what was planted
    put_all(tree, places[1], np.array([leaf for leaf, _ in again]), np.array([value for _, value in again]), found)
    plain = np.array(first)
    for (leaf, value), (smallest, where) in zip(again, found, strict=True):
        plain[leaf] = value
        assert smallest == plain.min()
        assert where == plain.argmin()
    for place in places[[0, 2]]:
        assert tournament.winner.py_func(tree, place).tolist() == (0, 0), "wrote into its neighbour"


@given(times_s=st.lists(st.floats(0, math.inf), min_size=2, max_size=10))
def test_bits_of_times_order_like_times(times_s: list[float]) -> None:
    bits = np.array(times_s).view(np.int64)
    np.testing.assert_array_equal(np.argsort(bits, kind="stable"), np.argsort(times_s, kind="stable"))
    assert (bits < tournament.NEVER).all()


@given(data=st.data())
def test_queue_gives_in_order_of_key_then_input(data: st.DataObject) -> None:
    """Entries are used again once popped, as live requests are; sorted arrival, random keys and a front of minus infinity all occur."""
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
    queues = np.zeros(1, arrays.QUEUE)
    queues["head"] = queues["tail"] = queues["root"] = NONE
    taken = np.full(len(entries), NONE)
    push_and_pop(Waiting(queues, live), np.array(entries, np.int64), np.array(keys, np.float64), taken)
    assert taken.tolist() == expected
    left = [entry for _, _, entry in model]
    assert queues[0]["waiting"] == len(left)
    assert queues[0]["waiting_prompt_tokens"] == live["prompt_left"][left].sum()
    assert queues[0]["waiting_predicted_tokens"] == live["predicted_tokens"][left].sum()
