"""The terms of an engine in the reference engine against numbers worked out by hand, on the hardware of
`naive_cases.py`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from naive import play
from naive_cases import HW, ONE_SLOT, SILVER, column, request, setup
from naive_policies import Caps, Edf, RoundRobin
from naive_world import Pool, Tier

# 4 blocks of 4 tokens; the 3 tokens beside them are of no use.
GROW = replace(HW, kv="grow", kv_block_tokens=4, kv_capacity_tokens=19)

# ---------------------------------------------------------------- speed


def test_memory_and_compute_overlap() -> None:
    # Overhead 1, weights 3; 16 prompt tokens compute for 4: 1 + 5 (p = 2). Then 3 and 2.25: 1 + 3.75, twice.
    hw = replace(HW, decode_base_s=4.0, decode_s_per_seq=2.25, chunk_tokens=16, overhead_s=1.0)
    for p, first_s, finished_s in ((2.0, 6.0, 15.5), (1e6, 5.0, 13.0), (1.0, 8.0, 20.5)):
        (record,) = play(setup(replace(hw, overlap_exponent=p)), [request(0.0, 16, 3)], RoundRobin()).records
        assert (record.first_token_s, record.finished_s) == (
            pytest.approx(first_s, rel=1e-6),
            pytest.approx(finished_s, rel=1e-6),
        )


def test_nothing_but_overhead() -> None:
    # No weights, no cost of a decoding sequence: 1 + 1 for the prompt, then the overhead alone.
    hw = replace(HW, decode_base_s=1.0, overhead_s=1.0, decode_s_per_seq=0.0, overlap_exponent=3.0)
    assert column(play(setup(hw), [request(0.0, 4, 3)], RoundRobin()), "finished_s") == [pytest.approx(4.0)]


def test_context_costs_more_beside_a_prompt() -> None:
    # A's prompt to 2. A decodes at context 5 beside B's prompt: 2.5 + (1/8 + 1/16) 5, to 5.4375 (B done). A at context
    # 6: 1.5 + 6/8.
    hw = replace(HW, decode_s_per_context_token=0.125, mixed_s_per_context_token=0.0625)
    out = play(setup(hw), [request(0.0, 4, 3), request(1.0, 4, 1)], RoundRobin())
    assert column(out, "finished_s") == [7.6875, 5.4375]


def test_long_prompts_cost_more_by_token() -> None:
    # 12 tokens: 8 (0 + 4) / 32 and 4 (8 + 2) / 32 more: 3 + 1 and 2 + 1.25. Two of 4 in one iteration do not see one
    # another: 3 + 2 x 4 x 2 / 32.
    hw = replace(HW, prefill_s_per_token_pair=1 / 32)
    assert column(play(setup(hw), [request(0.0, 12, 1)], RoundRobin()), "finished_s") == [7.25]
    assert column(play(setup(hw), [request(0.0, 4, 1)] * 2, RoundRobin()), "finished_s") == [3.5, 3.5]


def test_the_client_sees_tokens_later() -> None:
    # As without (9 and 12 in the engine) but for half a second; TPOT is the same, and so are the run's end and its
    # energy.
    hw = replace(HW, first_token_overhead_s=0.5)
    exact = Tier(8.5, 1.5, 11.5, 8.5)
    for name in ("", "ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s"):
        tier = replace(exact, **{name: getattr(exact, name) - 1e-4}) if name else exact
        out = play(setup(hw, tiers=[tier] * 3), [request(1.0, 20, 3)], RoundRobin())
        (record,) = out.records
        assert (record.released_s, record.first_token_s, record.finished_s, record.met_slo) == (
            1.0,
            9.5,
            12.5,
            not name,
        )
        assert (out.end_s, out.member_seconds, record.energy_j) == (12.0, 11.0, pytest.approx(4400.0))


def test_processing_prompts_draws_more() -> None:
    # Eq. 2 says 200 W. 8 tokens: 2 s of 3, so 200 + 700 x 2/3, twice; 4 tokens: 200 + 700 / 2 over 2 s; 3 s of
    # decoding. Two devices.
    out = play(setup(replace(HW, prefill_w=900.0)), [request(1.0, 20, 3)], RoundRobin())
    assert out.records[0].energy_j == pytest.approx(2 * (6 * (200 + 1400 / 3) + 2 * 550 + 3 * 200))
    assert out.accounts[0, "busy"][1] == pytest.approx(out.records[0].energy_j)
    assert out.energy_j == pytest.approx(out.records[0].energy_j + 989 * 200)
    below = play(setup(replace(HW, prefill_w=150.0)), [request(1.0, 20, 3)], RoundRobin())
    assert below.records[0].energy_j == pytest.approx(4400.0)


# ---------------------------------------------------------------- lag

LAG = replace(HW, lag_iterations=1)


@pytest.mark.parametrize(("arrival_s", "joined_s"), [(0.5, 3.5), (2.0, 3.5), (2.1, 5.0)])
def test_a_joiner_sits_one_iteration_out(arrival_s: float, joined_s: float) -> None:
    # A's iterations end at 2, 3.5, 5, ... B joins the one after that which begins next, for 1 + 0.5 + 1; nothing is
    # charged to it before.
    out = play(setup(LAG), [request(0.0, 4, 9), request(arrival_s, 4, 1)], RoundRobin())
    assert column(out, "admitted_s") == [0.0, arrival_s]
    assert column(out, "finished_s") == [2 + 8 * 1.5 + 1, joined_s + 2.5]
    assert out.records[1].energy_j == pytest.approx(2.5 * 300)
    assert out.member_seconds == 15 + 2.5


def test_joiners_come_at_once_where_no_member_is_left() -> None:
    # A is done at 2, at the end of its first iteration: B and C, which came in it, begin: 3.
    out = play(setup(LAG), [request(0.0, 4, 1), request(0.5, 4, 1), request(1.0, 4, 1)], RoundRobin())
    assert column(out, "finished_s") == [2.0, 5.0, 5.0]


def test_who_has_waited_goes_first() -> None:
    # A is done at 3.5. B has sat out the iteration from 2 and joins; C came later and sits B's prompt out, to 5.5; then
    # both: 2.5.
    out = play(setup(LAG), [request(0.0, 4, 2), request(0.5, 4, 2), request(2.5, 4, 1)], RoundRobin())
    assert column(out, "first_token_s") == [2.0, 5.5, 8.0]
    assert column(out, "finished_s") == [3.5, 8.0, 8.0]


def test_a_claimant_lags_like_others() -> None:
    # Silver A and B from 0: both prompts to 3, then 2 an iteration. Gold (there since 1) takes B's place at 3 and sits
    # A's iteration out, to 4.5: 1 + 0.5 + 1, to 7. B is back at 7, sits A's iteration to 8.5 out and resumes: 2. A's
    # last four: 1.5 each.
    hw = replace(LAG, max_batch=2)
    out = play(setup(hw), [request(0.0, 4, 9, SILVER), request(0.0, 4, 2, SILVER), request(1.0, 4, 1)], Caps())
    assert column(out, "admitted_s") == [0.0, 0.0, 3.0]
    assert column(out, "finished_s") == [16.5, 10.5, 7.0]
    assert out.preemptions == 1


# ---------------------------------------------------------------- memory that grows


def test_memory_that_suffices_changes_nothing() -> None:
    # 1 block each, then 2 from 5 tokens of context on: 4 in all, to the end. Reserving 9 tokens each would let one
    # wait.
    out = play(setup(replace(GROW, kv_capacity_tokens=16)), [request(0.0, 4, 5), request(0.0, 4, 5)], RoundRobin())
    assert column(out, "finished_s") == [11.0, 11.0]
    assert (out.preemptions, out.recomputed_tokens) == (0, 0)
    reserving = play(
        setup(replace(GROW, kv_capacity_tokens=16, kv="reserve")),
        [request(0.0, 4, 5), request(0.0, 4, 5)],
        RoundRobin(),
    )
    assert column(reserving, "admitted_s") == [0.0, 8.0]


def test_full_memory_recomputes_who_came_last() -> None:
    # Both: 3, then 2 a token. At 11 they have 5 tokens and contexts of 9: 3 blocks each. B goes, with 8 tokens
    # computed; A ends alone, 1.5 a token, at 17 (3 blocks to the end: no room for B's chunk of 2). B's prompt is 9 now:
    # 3 + 1.25 to its 6th token at 21.25; 3 more.
    out = play(setup(GROW), [request(0.0, 4, 9), request(0.0, 4, 9)], RoundRobin())
    assert column(out, "first_token_s") == [3.0, 3.0]
    assert column(out, "finished_s") == [17.0, 25.75]
    assert column(out, "preempted") == [0, 1]
    assert (out.preemptions, out.recomputed_tokens) == (1, 8)


def test_a_recomputed_prompt_may_be_the_end() -> None:
    out = play(setup(GROW), [request(0.0, 4, 9), request(0.0, 4, 6)], RoundRobin())
    assert column(out, "finished_s") == [17.0, 21.25]


def test_who_pre_empts_admits_nobody_until_its_next_iteration_has_ended() -> None:
    # 5 blocks: at 11 there is room for B's chunk (3 + 2), but B comes at 12.5. A beside 7 of its 9 tokens: 3.25, to
    # 15.75, where B's last 2 need a third block: B goes again, 7 tokens lost. Back at 17.25: 3.25 to 20.5 (A done), 1.5
    # to B's 6th token at 22, 3 more.
    out = play(setup(replace(GROW, kv_capacity_tokens=20)), [request(0.0, 4, 9), request(0.0, 4, 9)], RoundRobin())
    assert column(out, "finished_s") == [20.5, 26.5]
    assert (out.preemptions, out.recomputed_tokens) == (2, 15)


def test_who_has_not_begun_is_put_back_and_counts_nothing() -> None:
    # A's 2 blocks become 3 at 8. B, in since 7 with a chunk of 2, has not begun: back to the front, before C, which
    # would have room. A ends at 14.
    out = play(setup(GROW), [request(0.0, 4, 9), request(7.0, 8, 1), request(7.5, 1, 1)], RoundRobin())
    assert column(out, "admitted_s") == [0.0, 7.0, 14.0]
    assert column(out, "finished_s") == [14.0, 17.0, 18.25]
    assert column(out, "preempted") == [0, 0, 0]
    assert (out.preemptions, out.recomputed_tokens) == (0, 0)


def test_a_member_that_took_nothing_is_put_back_and_counts_nothing() -> None:
    # Chunks of 2 blocks each. A takes 8 tokens, B none; A's other 4 need a third block at 3. A to 5, B then.
    out = play(setup(GROW), [request(0.0, 12, 1), request(0.0, 8, 1)], RoundRobin())
    assert column(out, "finished_s") == [5.0, 8.0]
    assert (out.preemptions, out.recomputed_tokens) == (0, 0)


def test_an_unchunked_prompt_needs_all_its_blocks() -> None:
    out = play(setup(replace(GROW, chunk_tokens=0)), [request(0.0, 12, 1), request(0.0, 8, 1)], RoundRobin())
    assert column(out, "admitted_s") == [0.0, 4.0]
    assert column(out, "finished_s") == [4.0, 7.0]


def test_a_replica_that_can_never_hold_it_does_not_get_it() -> None:
    # 4 + 9 tokens are 4 blocks: the first replica has 3, and room for the chunk.
    changed = setup()
    pools = [Pool("LP", 1, replace(GROW, kv_capacity_tokens=tokens), changed.pools[0].region) for tokens in (12, 16)]
    out = play(replace(changed, pools=pools), [request(0.0, 4, 9), request(0.0, 4, 9), request(0.0, 4, 8)], Edf())
    assert column(out, "gpu")[::2] == [1, 0]
    assert out.records[1].gpu == 1


def test_the_victim_of_a_claim_is_recomputed() -> None:
    # Silver: 2 x 3 to 6 (first token), where Gold takes its place: 3 + 1.5 to 10.5. Silver's prompt is 17 now: 3 + 3 +
    # 1.25 to its second token at 17.75; two more.
    out = play(
        setup(replace(ONE_SLOT, kv="grow", kv_block_tokens=4, kv_capacity_tokens=20)),
        [request(0.0, 16, 4, SILVER), request(4.0, 8, 2)],
        Caps(),
    )
    assert column(out, "first_token_s") == [6.0, 9.0]
    assert column(out, "finished_s") == [20.75, 10.5]
    assert (column(out, "preempted"), out.recomputed_tokens) == ([1, 0], 16)


@pytest.mark.parametrize(
    ("small", "admitted_s", "preempted", "recomputed"), [(3, 3.0, [1, 1, 0, 0], 8), (2, 2.0, [0, 1, 0, 0], 0)]
)
def test_a_claim_reserves_its_chunk(small: int, admitted_s: float, preempted: list[int], recomputed: int) -> None:
    # 18 tokens, blocks of 1. A holds 8, B 4; Gold of 8 claims B's place and 4 tokens beside: 16. A Gold of 3 has no
    # room and claims A's place, which has its first token by then; one of 2 has, and joins. Then A needs 9 at 3: 9 + 2
    # + 8 is too much, the claimant has not begun and is put back, and B (4), before it in the queue, returns. A decodes
    # beside 2 + 4 prompt tokens, to 6, the end.
    hw = replace(HW, kv="grow", kv_block_tokens=1, kv_capacity_tokens=18)
    requests = [request(0.0, 8, 8, SILVER), request(0.0, 4, 4, SILVER), request(1.0, 8, 4), request(2.0, small, 1)]
    out = play(setup(hw, horizon_s=3.0, drain_s=3.0), requests, Caps())
    assert column(out, "admitted_s") == [0.0, 0.0, 3.0, admitted_s]
    assert (column(out, "preempted"), out.recomputed_tokens) == (preempted, recomputed)
    assert small == 3 or column(out, "finished_s")[3] == 6.0
