"""The reference engine against numbers worked out by hand, on the hardware of `naive_cases.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from naive import Engine, play
from naive_cases import BRONZE, HW, ONE_SLOT, SILVER, column, idle, request, setup
from naive_policies import Caps, CarbonAware, Edf, RoundRobin, SloAware
from naive_world import Carbon, Pool, Region, Setup, Tier

# ---------------------------------------------------------------- iterations


def test_one_request_chunked() -> None:
    # 20 prompt tokens as 8 + 8 + 4: 1 + 3 + 3 + 2 = 9; two decode steps of 1.5: 12.
    out = play(setup(), [request(1.0, 20, 3)], RoundRobin())
    (record,) = out.records
    assert (record.admitted_s, record.released_s, record.first_token_s, record.finished_s) == (1.0, 1.0, 9.0, 12.0)
    assert (record.gpu, record.pool, out.end_s, out.member_seconds) == (0, 0, 12.0, 11.0)
    assert record.energy_j == pytest.approx(11 * 400)
    assert record.carbon_g == pytest.approx(4400 * 360 / 3.6e6)
    # Idle: the first second, and from 12 to the end of the arrivals, 989 s in all.
    assert idle(out) == (989.0, 197_800.0, pytest.approx(19.78))
    assert out.accounts[0, "busy"] == [11.0, pytest.approx(4400.0), pytest.approx(0.44)]
    assert out.energy_j == pytest.approx(202_200.0)
    assert out.carbon_g == pytest.approx(20.22)


def test_one_request_unchunked() -> None:
    # The prompt whole: 1 + 5 = 6; then 2 x 1.5.
    out = play(setup(replace(HW, chunk_tokens=0)), [request(1.0, 20, 3)], RoundRobin())
    assert (out.records[0].first_token_s, out.records[0].finished_s) == (7.0, 10.0)


def test_two_requests_share_chunks() -> None:
    # A 4 + B 4: 3 s, to 3 (A's first). A decodes, B takes 7: 3.25, to 6.25. A decodes, B takes 1: 1.75, to 8 (A done,
    # B's first). B decodes: 9.5.
    out = play(setup(), [request(0.0, 4, 3), request(0.0, 12, 2)], RoundRobin())
    assert column(out, "first_token_s") == [3.0, 8.0]
    assert column(out, "finished_s") == [8.0, 9.5]
    assert column(out, "energy_j") == [pytest.approx(8 * 600 / 2), pytest.approx(8 * 600 / 2 + 1.5 * 400)]


def test_two_requests_unchunked_prefill_pauses_decoding() -> None:
    # A's prompt: 2. B's prompt, A paused: 4, to 6. Both decode: 2, to 8 (B done). A decodes: 9.5.
    out = play(setup(replace(HW, chunk_tokens=0)), [request(0.0, 4, 3), request(0.0, 12, 2)], RoundRobin())
    assert column(out, "first_token_s") == [2.0, 6.0]
    assert column(out, "finished_s") == [9.5, 8.0]


def test_arrival_in_mid_iteration_joins_the_next() -> None:
    # A: prompt to 2, decode to 3.5; B, there since 2.5, joins: 1 + 0.5 + 1 to 6 (B done, one token); A decodes to 7.5.
    tiers = [Tier(tpot_s=0.0)] * 3
    out = play(setup(tiers=tiers), [request(0.0, 4, 4), request(2.5, 4, 1)], RoundRobin())
    assert column(out, "admitted_s") == [0.0, 2.5]
    assert column(out, "first_token_s") == [2.0, 6.0]
    assert column(out, "finished_s") == [7.5, 6.0]
    assert column(out, "energy_j") == [pytest.approx(3.5 * 400 + 750 + 1.5 * 400), pytest.approx(2.5 * 600 / 2)]
    assert column(out, "met_slo") == [False, True]  # TPOT is not asked of one token


def test_decoders_leave_at_least_one_prompt_token() -> None:
    # chunk 1: B's 2 prompt tokens go one an iteration beside a decoding A: A's prompt 2.5 (2 x 1.25), then 1.75 + 1.75.
    out = play(setup(replace(HW, chunk_tokens=1)), [request(0.0, 2, 9), request(2.0, 2, 1)], RoundRobin())
    assert column(out, "first_token_s") == [2.5, 6.0]


def test_context_costs() -> None:
    # d2 = 1/8: prompt to 2; contexts 4 + 1 and 4 + 2: 1.5 + 0.625 and 1.5 + 0.75.
    out = play(setup(replace(HW, decode_s_per_context_token=0.125)), [request(0.0, 4, 3)], RoundRobin())
    assert (out.records[0].first_token_s, out.records[0].finished_s) == (2.0, 6.375)


# ---------------------------------------------------------------- queues


def test_kv_limit_holds_the_head_and_those_behind() -> None:
    # 20 tokens: A (12) runs 3 + 3 x 1.5 to 7.5; B (12) does not fit and holds C (3). Then B's prompt to 10.5;
    # B decodes beside C's prompt: 2, to 12.5 (C done); B decodes to 14 and 15.5.
    out = play(
        setup(replace(HW, kv_capacity_tokens=20)), [request(0.0, 8, 4), request(0.0, 8, 4), request(0.0, 2, 1)], Edf()
    )
    assert column(out, "admitted_s") == [0.0, 7.5, 7.5]
    assert column(out, "finished_s") == [7.5, 15.5, 12.5]
    assert column(out, "released_s") == [0.0, 0.0, 0.0]  # full is not held


def test_the_gpu_with_fewest_residents_takes_the_head() -> None:
    requests = [request(0.0, 8, 9), request(0.0, 8, 1), request(0.0, 8, 1), request(5.0, 8, 1)]
    out = play(setup(pools=[2, 1], roles=["LP", "CP"]), requests, Edf())
    assert column(out, "gpu") == [0, 1, 2, 1]
    assert column(out, "pool") == [0, 0, 1, 0]


def test_round_robin_is_blind() -> None:
    out = play(
        setup(ONE_SLOT, pools=[2]),
        [request(0.0, 8, 1), request(0.0, 8, 9), request(4.0, 8, 1), request(4.0, 8, 1)],
        RoundRobin(),
    )
    assert column(out, "gpu") == [0, 1, 0, 1]
    assert column(out, "admitted_s") == [0.0, 0.0, 4.0, 15.0]  # 3 + 8 x 1.5 on GPU 1


def test_edf_orders_by_deadline() -> None:
    # Deadlines: bronze 0.5 + 1000, silver 1 + 100 (no TTFT limit), gold 2 + 10. Each takes 3 s.
    tiers = [Tier(ttft_s=10.0, e2e_s=1e5), Tier(e2e_s=100.0), Tier(e2e_s=1000.0)]
    requests = [request(0.0, 8, 1), request(0.5, 8, 1, BRONZE), request(1.0, 8, 1, SILVER), request(2.0, 8, 1)]
    out = play(setup(ONE_SLOT, tiers=tiers), requests, Edf())
    assert column(out, "admitted_s") == [0.0, 9.0, 6.0, 3.0]


def test_slo_aware_routes_by_tier() -> None:
    out = play(
        setup(pools=[1, 1, 1], roles=["LP", "CP", "BP"]), [request(0.0, 8, 1, tier) for tier in (2, 0, 1)], SloAware()
    )
    assert column(out, "pool") == [2, 0, 1]


def test_slo_limits() -> None:
    # TTFT 8, E2E 11, TPOT 1.5, each limit kept exactly; a hair less fails.
    exact = Tier(8.0, 1.5, 11.0, 8.0)
    for name in ("", "ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s"):
        tier = replace(exact, **{name: getattr(exact, name) - 1e-4}) if name else exact
        assert play(setup(tiers=[tier] * 3), [request(1.0, 20, 3)], RoundRobin()).records[0].met_slo == (not name)


# ---------------------------------------------------------------- pre-emption


def test_victim_keeps_its_progress() -> None:
    # Silver: 2 x 3 to 6 (first token), where Gold (there since 4) takes its place: 3 + 1.5 to 10.5. Silver's three
    # tokens left: 4.5 to 15.
    out = play(setup(ONE_SLOT), [request(0.0, 16, 4, SILVER), request(4.0, 8, 2)], Caps())
    silver, gold = out.records
    assert (silver.admitted_s, silver.released_s, silver.first_token_s, silver.finished_s, silver.preempted) == (
        0.0,
        0.0,
        6.0,
        15.0,
        1,
    )
    assert (gold.admitted_s, gold.released_s, gold.first_token_s, gold.finished_s) == (6.0, 4.0, 9.0, 10.5)
    assert column(out, "energy_j") == [pytest.approx(10500.0), pytest.approx(4500.0)]
    assert out.preemptions == 1


def test_half_a_prompt_is_kept() -> None:
    # Silver has done 8 of 16 at 3; Gold 3 to 6; Silver's other 8: 9.
    out = play(setup(ONE_SLOT), [request(0.0, 16, 1, SILVER), request(1.0, 8, 1)], Caps())
    assert column(out, "finished_s") == [9.0, 6.0]


def test_victim_that_finishes_is_no_victim() -> None:
    out = play(setup(ONE_SLOT), [request(0.0, 8, 1, SILVER), request(1.0, 8, 2)], Caps())
    assert column(out, "finished_s") == [3.0, 7.5]
    assert (out.preemptions, out.records[0].preempted) == (0, 0)


def test_last_admitted_gives_way_first() -> None:
    # GPU 0 from 0, GPU 1 from 0.5. Three Gold at 1: the first takes GPU 1 at 3.5, the second GPU 0 at 3, the third
    # queues behind the victims, which come back in front of it: GPU 0 is free at 6 (victim 0), GPU 1 at 6.5 (victim 1).
    requests = [request(0.0, 16, 1, SILVER), request(0.5, 16, 1, BRONZE), *[request(1.0, 8, 1)] * 3]
    out = play(setup(ONE_SLOT, pools=[2]), requests, Caps())
    assert column(out, "admitted_s") == [0.0, 0.5, 3.5, 3.0, 9.0]
    assert column(out, "finished_s") == [9.0, 9.5, 6.5, 6.0, 12.0]
    assert column(out, "preempted") == [1, 1, 0, 0, 0]


def test_gold_and_tierless_caps_do_not_preempt() -> None:
    both_gold = play(setup(ONE_SLOT), [request(0.0, 16, 1), request(1.0, 8, 1)], Caps())
    tierless = play(setup(ONE_SLOT), [request(0.0, 16, 1, SILVER), request(1.0, 8, 1)], Caps(no_tiers=True))
    assert column(both_gold, "finished_s") == column(tierless, "finished_s") == [6.0, 9.0]


def test_claim_looks_at_the_cache() -> None:
    # 30 tokens. Residents 10 (first) and 9 (last); Gold of 21 fits only in the place of the 10: 9 + 21. Its claim
    # reserves 11 beside: full.
    requests = [request(0.0, 8, 2, SILVER), request(0.0, 8, 1, SILVER), request(1.0, 20, 1), request(2.0, 1, 1)]
    out = play(setup(replace(HW, kv_capacity_tokens=30)), requests, Caps())
    # The small Gold, at 2, would have room (19 + 2) but for that, so it claims the 9. Both enter when the iteration
    # ends, at 3.
    assert column(out, "admitted_s") == [0.0, 0.0, 3.0, 3.0]
    assert column(out, "preempted") == [1, 1, 0, 0]


def test_victim_must_make_enough_room() -> None:
    # As above, without the small Gold: the last admitted (9) would not do, 10 + 21 > 30.
    out = play(
        setup(replace(HW, kv_capacity_tokens=30)),
        [request(0.0, 8, 2, SILVER), request(0.0, 8, 1, SILVER), request(1.0, 20, 1)],
        Caps(),
    )
    assert column(out, "preempted") == [1, 0, 0]


def test_waiting_gold_goes_first() -> None:
    # Gold runs, so nobody gives way; then Gold of 2 before Silver of 1. Without tiers: by arrival.
    requests = [request(0.0, 8, 1), request(1.0, 8, 1, SILVER), request(2.0, 8, 1)]
    assert column(play(setup(ONE_SLOT), requests, Caps()), "admitted_s") == [0.0, 6.0, 3.0]
    assert column(play(setup(ONE_SLOT), requests, Caps(no_tiers=True)), "admitted_s") == [0.0, 3.0, 6.0]


def test_claim_between_iterations_waits_for_the_next_to_end() -> None:
    # Gold comes at 3, just as Silver's first iteration closes: Silver still does its second, to 6.
    out = play(setup(ONE_SLOT), [request(0.0, 24, 1, SILVER), request(3.0, 8, 1)], Caps())
    assert column(out, "finished_s") == [12.0, 9.0]


# ---------------------------------------------------------------- gates


def test_held_work_is_released_as_it_is_admitted() -> None:
    # 500 g until 100, 300 after; threshold 400; control every 60: open from 120. One slot, 3 s each.
    # C comes while B, held, waits: held too. D comes later and is not.
    changed = setup(
        ONE_SLOT, carbon=Carbon([0.0, 100.0], [500.0, 300.0]), thresholds=[(0.0, 400.0)], control_step_s=60.0
    )
    out = play(changed, [request(t, 8, 1) for t in (10.0, 110.0, 121.0, 200.0)], CarbonAware())
    assert column(out, "admitted_s") == [120.0, 123.0, 126.0, 200.0]
    assert column(out, "released_s") == [120.0, 123.0, 126.0, 200.0]


def test_full_and_open_is_not_held_but_a_gate_that_closes_holds() -> None:
    # A runs 3 + 49 x 1.5 = 76.5. B (at 1) waits for it, C (at 70) too; the gate is closed in [60, 240): both are held.
    changed = setup(
        ONE_SLOT,
        carbon=Carbon([0.0, 50.0, 200.0], [300.0, 500.0, 300.0]),
        thresholds=[(0.0, 400.0)],
        control_step_s=60.0,
    )
    out = play(changed, [request(0.0, 8, 50), request(1.0, 8, 1), request(70.0, 8, 1)], CarbonAware())
    assert column(out, "finished_s") == [76.5, 243.0, 246.0]
    assert column(out, "released_s") == [0.0, 240.0, 243.0]


def bp_setup(**changes: Any) -> Setup:
    # service = 0.25 x 8 + (1 + 0.5 x 4) x 6 = 20 s; two waiting need 2 x 20 / 4 = 10 s.
    return setup(roles=["BP"], mean_input=8.0, mean_output=6.0, control_step_s=15.0, gamma_mean=5.0, **changes)


def test_bp_waits_for_the_cleanest_time() -> None:
    # Head due at 210. Before 120 there are 60 s and more ahead below gamma; at 120 nothing is cleaner than 1: open.
    values = [5.0, 5.0, 5.0, 3.0, 1.0, 1.0, 9.0]
    changed = bp_setup(
        tiers=[Tier(e2e_s=200.0)] * 3,
        carbon=Carbon([30.0 * i for i in range(7)], values),
        forecasts=[(0.0, 30.0, values)],
    )
    caps = Caps(plan_every_s=15.0)
    out = play(changed, [request(10.0, 8, 1, BRONZE), request(20.0, 8, 1, BRONZE)], caps)
    assert column(out, "released_s") == [120.0, 120.0]
    engine = Engine(changed, [], caps)
    engine.control()
    assert (engine.queues[0].open, engine.queues[0].start_s, engine.queues[0].start_gamma) == (False, 120.0, 1.0)


def test_bp_opens_when_due() -> None:
    # Cleaner time never ends (4 < 5), but at 75: 100 - 75 - 20 = 5 <= 10; at 60: 20 > 10.
    changed = bp_setup(tiers=[Tier(e2e_s=90.0)] * 3, carbon=Carbon([0.0], [5.0]), forecasts=[(0.0, 30.0, [4.0])])
    requests = [request(10.0, 8, 1, BRONZE), request(20.0, 8, 1, BRONZE)]
    assert column(play(changed, requests, Caps(plan_every_s=15.0)), "admitted_s") == [75.0, 75.0]
    assert column(play(changed, requests, Caps(plan_every_s=45.0)), "admitted_s") == [90.0, 90.0]  # plans at 0, 45, 90
    assert column(play(changed, requests, Caps(beta=0.0)), "admitted_s") == [10.0, 20.0]


def test_cp_predicts_its_start() -> None:
    for values, start_s in (([5.0, 2.0, 1.0], 40.0), ([5.0, 3.0, 1.0], 60.0), ([5.0, 3.0], 60.0), ([1.0, 3.0], 60.0)):
        seen = {"thresholds": [(0.0, 2.0)], "forecasts": [(0.0, 30.0, values)], "carbon": Carbon([0.0], [5.0])}
        engine = Engine(setup(roles=["CP"], control_step_s=40.0, **seen), [], Caps())
        engine.now = 40.0
        engine.control()
        assert (engine.queues[0].open, engine.queues[0].start_s) == (False, start_s)


# ---------------------------------------------------------------- CAPS, Eq. 4


def test_score_of_an_empty_pool() -> None:
    # step 1.5, ttft 1.5 x 1.5 + 2 = 4.25 = its limit: V = 1/2. tau = 2 + 6; norm = 5 x 200 x (2 + 9); E = 5 x 200 x 8 /
    # 11000; G = 4 x 1/2 / 6.
    changed = setup(
        mean_input=8.0, mean_output=6.0, gamma_mean=5.0, carbon=Carbon([0.0], [5.0]), tiers=[Tier(ttft_s=4.25)] * 3
    )
    engine = Engine(changed, [request(0.0, 8, 4)], Caps())
    engine.control()
    score = Caps(alpha=1.0, beta=2.0, lambda_=3.0).score(engine, engine.queues[0], engine.jobs[0])
    assert score == pytest.approx(1 / 3 - 2 * 8 / 11 - 3 / 2)
    # Without the predictor: m = 6, V = 0: G = 1, tau = 2 + 9, E = 1.
    assert Caps(1.0, 2.0, 3.0, no_predictor=True).score(engine, engine.queues[0], engine.jobs[0]) == pytest.approx(
        1 - 2
    )


def test_routes_by_score() -> None:
    # Without limits V = 0 and G is the same everywhere. Request 0: a tie, lower pool. Then pool 0 has batch 2 and step
    # 2: P(1/2) / 2 x (2 + 2 x 4) = 150 x 10 = 1500, against P(1/4) x (2 + 1.5 x 4) = 200 x 8 = 1600 in the empty pool
    # 1: sharing is cleaner. Where TTFT may take 4.3 s, pool 1 (4.25) is the less risky: pool 0, with 8 more tokens
    # ahead and rounds 2, takes 2.5 x 2 + 4 = 9.
    requests = [request(0.0, 8, 4), request(0.0, 8, 4)]
    pools = setup(pools=[1, 1], roles=["LP", "CP"], mean_input=8.0, mean_output=4.0, gamma_mean=360.0)
    assert column(play(pools, requests, Caps()), "pool") == [0, 0]
    assert column(play(replace(pools, tiers=[Tier(ttft_s=4.3)] * 3), requests, Caps()), "pool") == [0, 1]
    assert column(play(replace(pools, tiers=[Tier(roles=frozenset({"CP"}))] * 3), requests, Caps()), "pool") == [1, 1]
    assert column(
        play(replace(pools, tiers=[Tier(4.3, roles=frozenset({"CP"}))] * 3), requests, Caps(no_tiers=True)), "pool"
    ) == [0, 1]


def test_ttft_of_a_loaded_pool() -> None:
    # Two slots, both taken (16 prompt tokens each), one waiting (8). batch 2, step 2; ahead = 8 + 8 + 32 = 48, six
    # rounds; service = 2 + 2 x 6 = 14, queueing = 2 x 14 / 2 = 14; ttft = 14 + 6.5 x 2 + 12 = 39.
    caps = Caps()
    changed = setup(replace(HW, max_batch=2), mean_input=8.0, mean_output=6.0)
    engine = Engine(changed, [request(0.0, 16, 4), request(0.0, 16, 4), request(0.0, 8, 4), request(0.0, 8, 4)], caps)
    engine.control()
    for job in engine.jobs[:3]:
        engine.arrive(job)
        engine.start_heads(engine.queues[0])
    assert caps.batch(engine, engine.queues[0]) == 2
    assert caps.waits(engine, engine.queues[0], engine.jobs[3], 2.0) == (0.0, 39.0)


# ---------------------------------------------------------------- energy, carbon, the end


def test_carbon_across_a_change() -> None:
    # 11 s at 400 W: 5 s at 360, 6 s at 720. Idle GPU 1: 200 W over the same, for the arrivals end then.
    changed = setup(horizon_s=11.0, pools=[2], carbon=Carbon([0.0, 5.0], [360.0, 720.0]))
    out = play(changed, [request(0.0, 20, 3)], RoundRobin())
    assert out.records[0].carbon_g == pytest.approx(400 * 6120 / 3.6e6)
    assert idle(out) == (11.0, pytest.approx(2200.0), pytest.approx(200 * 6120 / 3.6e6))
    assert out.carbon_g == pytest.approx(600 * 6120 / 3.6e6)


@pytest.mark.parametrize(("horizon_s", "idle_s"), [(6.0, 1 + 6), (20.0, 1 + 20 + 8)])
def test_idle_time_counts_from_0_to_the_end_of_the_arrivals(horizon_s: float, idle_s: float) -> None:
    # GPU 0 is busy from 1 to 12, whenever the arrivals end; GPU 1 never.
    out = play(setup(horizon_s=horizon_s, pools=[2]), [request(1.0, 20, 3)], RoundRobin())
    assert idle(out) == (idle_s, 200 * idle_s, pytest.approx(200 * idle_s * 360 / 3.6e6))
    assert out.accounts[0, "busy"] == [11.0, pytest.approx(4400.0), pytest.approx(0.44)]
    assert out.energy_j == pytest.approx(4400 + 200 * idle_s)


def test_accounts_by_pool_kind_and_region() -> None:
    # Pool 0 at 360 g/kWh, pool 1, of one slot, at 720: 11 s at 400 W and at 1000 W.
    cheap, dear = (Region(Carbon([0.0], [g_per_kwh])) for g_per_kwh in (360.0, 720.0))
    changed = replace(setup(horizon_s=12.0), pools=[Pool("LP", 1, HW, cheap), Pool("CP", 1, ONE_SLOT, dear)])
    out = play(changed, [request(0.0, 20, 3), request(0.0, 20, 3)], RoundRobin())
    assert column(out, "finished_s") == [11.0, 11.0]
    assert column(out, "carbon_g") == [pytest.approx(0.44), pytest.approx(2.2)]
    assert out.accounts == {
        (0, "busy"): [11.0, pytest.approx(4400.0), pytest.approx(0.44)],
        (1, "busy"): [11.0, pytest.approx(11_000.0), pytest.approx(2.2)],
        (0, "idle"): [1.0, pytest.approx(200.0), pytest.approx(0.02)],
        (1, "idle"): [1.0, pytest.approx(200.0), pytest.approx(0.04)],
    }


def test_the_end_of_the_drain_cuts_iterations() -> None:
    # The second chunk would run 3 to 6.
    out = play(setup(horizon_s=4.0, drain_s=1.0), [request(0.0, 20, 3)], RoundRobin())
    assert (out.unfinished, out.end_s, out.member_seconds) == (1, 5.0, 5.0)
    assert out.records[0].energy_j == pytest.approx(2000.0) == out.energy_j
    assert not out.records[0].met_slo


def test_what_ends_with_the_drain_still_happens() -> None:
    for drain_s, finished in ((7.0, 1), (6.999, 0)):
        out = play(setup(horizon_s=4.0, drain_s=drain_s), [request(0.0, 20, 3)], RoundRobin())
        assert out.unfinished == 1 - finished


def test_levels() -> None:
    changed = setup(carbon=Carbon([0.0, 10.0, 20.0], [99.0, 100.0, 300.0]), level_edges=(100.0, 200.0))
    assert column(play(changed, [request(t, 1, 1) for t in (0.0, 10.0, 20.0)], RoundRobin()), "level") == [0, 1, 2]
