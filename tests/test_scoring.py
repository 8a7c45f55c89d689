"""INV-8: the invariants of scoring (Eq. 4), on the compiled decision itself over random states of the cluster, and
through whole runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caps_fast import arrays, scenario, sections
from caps_fast._jit import kernel
from caps_fast.arrays import Array, State
from caps_fast.choose import layout_of, make_policy
from caps_fast.outcome import Outcome
from caps_fast.pack import pack
from caps_fast.pack_kinds import Means
from caps_fast.policies.caps import Caps, score
from caps_fast.policy import route
from cases import cases, play_fast
from plain import FIXED, grid, rows_of

CAPS = ("caps", "caps-no-predictor", "caps-no-tiers", "caps-no-carbon")
CLEAR = 1e-9  # scores nearer than this, relative to their terms, count as a tie


@kernel
def decide(policy, t_s, r, tier, s, scores):
    """The pool that live request `r` is sent to; its score in every pool goes to `scores`."""
    for q in range(s.queues.shape[0]):
        scores[q] = score(policy, t_s, r, tier, (0, 0), q, s)
    return route(policy, t_s, r, s)


class Moment:
    """A state of the cluster at which one request is scored, with weights given to `weigh`."""

    def __init__(self, state: State, t_s: float, policy: Caps) -> None:
        self.state, self.t_s, self.policy = state, t_s, policy

    def __repr__(self) -> str:
        names = ("clock", "setup", "tiers", "queues", "kinds", "regions", "memory", "live")
        parts = {name: getattr(self.state, name).tolist() for name in names}
        return f"Moment(t_s={self.t_s}, {self.policy}, {parts})"

    @property
    def tier(self) -> int:
        return int(self.state.live[0]["tier"]) if self.policy.tiered else 3

    @property
    def allowed(self) -> Array:
        roles = int(self.state.tiers[self.tier]["roles"])
        return np.flatnonzero((roles >> self.state.queues["role"]) & 1)

    def weigh(self, alpha: float, beta: float, lambda_: float) -> tuple[int, Array]:
        """Chosen pool and all scores."""
        scores = np.full(len(self.state.queues), np.nan)
        policy = self.policy._replace(alpha=float(alpha), beta=float(beta), lambda_=float(lambda_))
        return int(decide(policy, self.t_s, 0, self.tier, self.state, scores)), scores

    @property
    def terms(self) -> tuple[Array, Array, Array]:
        """G, E and V of every pool."""
        return self.weigh(1, 0, 0)[1], -self.weigh(0, 1, 0)[1], -self.weigh(0, 0, 1)[1]

    def is_clear(self, weights: tuple[float, float, float], slack: float = CLEAR) -> bool:
        """Does the best pool win by more than rounding could move it?"""
        scores = self.weigh(*weights)[1][self.allowed]
        size = sum(
            abs(weight) * np.abs(term[self.allowed]).max() for weight, term in zip(weights, self.terms, strict=True)
        )
        best, *rest = np.sort(scores)[::-1]
        return not rest or best - rest[0] > slack * size


def cluster_at_rest(changes: Mapping[str, Any], g_per_kwh: float, means: Means) -> State:
    """A fresh state, of the paper's scenario with fields changed, and one live request."""
    config = scenario.preset("paper").replace(FIXED | {"predictor.source": "declared"} | dict(changes))
    policy = make_policy(config)
    state = pack(config, policy, layout_of(policy, config), [grid(g_per_kwh=[g_per_kwh])], means)
    return state._replace(live=np.zeros(1, arrays.LIVE))


def pools(roles: str, gpus: Sequence[int]) -> dict[str, Any]:
    return {"cluster.gpus": sum(gpus), "cluster.split": "/".join(map(str, gpus)), "cluster.roles": roles}


positive = st.floats(1e-6, 1e6)
limit = st.one_of(st.just(math.inf), positive)
intensity = st.one_of(st.just(0.0), st.floats(0, 2000))


@st.composite
def moments(draw: Any, roles: str | None = None) -> Moment:
    """Any finite state: empty to hopelessly full pools, tiny to absurd GPUs, limits, intensities and request
    lengths.
    """
    names = roles or draw(st.sampled_from(["LP/CP/BP", "BP/CP/LP", "LP/LP", "CP/BP/BP/LP/CP", "BP"]))
    idle_w, rise_w = draw(st.floats(0, 1000)), draw(st.floats(1e-3, 1000))
    changes = {
        **pools(names, [draw(st.integers(1, 3)) for _ in names.split("/")]),
        "gpu.prefill_s_per_token": draw(st.floats(1e-9, 1.0)),
        "gpu.decode_base_s": draw(st.floats(1e-6, 10.0)),
        "gpu.decode_s_per_seq": draw(st.floats(0, 1.0)),
        "gpu.idle_w": idle_w,
        "gpu.peak_w": idle_w + rise_w,
        "gpu.power_exponent": draw(st.floats(0.01, 3)),
        "cluster.max_batch": draw(st.one_of(st.integers(1, 64), st.just(4096))),
        "cluster.prefill": draw(st.sampled_from(["chunked", "unchunked"])),
        "cluster.chunk_tokens": draw(st.integers(1, 8192)),
    }
    state = cluster_at_rest(changes, draw(st.floats(0, 2000)), Means(draw(st.floats(1, 1e5)), draw(st.floats(1, 1e5))))
    t_s = draw(st.floats(0, 1e7))
    for tier in state.tiers:
        for field in ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s"):
            tier[field] = draw(limit)
        tier["roles"] = draw(st.integers(1, 7))
        if not any(int(tier["roles"]) >> role & 1 for role in state.queues["role"]):
            tier["roles"] = 7
    for queue in state.queues:
        slots = (int(queue["end_gpu"]) - int(queue["first_gpu"])) * changes["cluster.max_batch"]
        queue["residents"] = draw(st.one_of(st.sampled_from([0, slots]), st.integers(0, slots)))
        queue["waiting"] = draw(st.one_of(st.just(0), st.integers(0, 10**7)))
        queue["waiting_prompt_tokens"] = int(queue["waiting"]) * draw(st.integers(1, 10**5))
        queue["prompt_tokens"] = draw(st.integers(0, 10**6))
        queue["open"] = draw(st.booleans())
        queue["backlog"] = draw(st.booleans())
    for memory in state.memory:
        memory["start_s"] = draw(st.one_of(st.floats(0, 1e9), st.floats(0, 100).map(lambda ahead: t_s + ahead)))
        memory["start_g_per_kwh"] = draw(intensity)
    state.regions[0]["gamma"] = draw(intensity)
    request = state.live[0]
    request["tier"] = draw(st.integers(0, 2))
    request["input_tokens"] = draw(st.integers(1, 2**31 - 1))
    request["predicted_tokens"] = draw(st.one_of(st.floats(1, 1000), st.floats(1, 1e9)))
    sharpness = draw(st.one_of(st.floats(0.5, 8), st.floats(1e-3, 1000)))
    return Moment(
        state, t_s, Caps(risk_sharpness=sharpness, predicts=draw(st.integers(0, 1)), tiered=draw(st.integers(0, 1)))
    )


weight = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.floats(0, 100))
weights_of_three = st.tuples(weight, weight, weight)


@settings(max_examples=60)
@given(moment=moments(), weights=weights_of_three)
def test_the_best_score_wins_and_ties_go_to_the_lower_pool(moment: Moment, weights: tuple[float, float, float]) -> None:
    chosen, scores = moment.weigh(*weights)
    assert chosen == moment.allowed[np.argmax(scores[moment.allowed])]


@settings(max_examples=60)
@given(moment=moments(), weights=st.tuples(*[st.one_of(weight, st.floats(0, 1e9))] * 3))
def test_no_nan_and_v_is_a_probability(moment: Moment, weights: tuple[float, float, float]) -> None:
    assert np.isfinite(moment.weigh(*weights)[1]).all()
    goodput, carbon, violation = moment.terms
    assert ((violation >= 0) & (violation <= 1)).all()
    assert (goodput >= 0).all()
    assert (carbon >= 0).all()
    for term in (goodput, carbon):
        assert np.isfinite(term).all()


@settings(max_examples=60)
@given(moment=moments(), weights=weights_of_three, power=st.integers(-30, 30), k=st.floats(1e-6, 1e6))
def test_scaling_all_weights_changes_no_decision(
    moment: Moment, weights: tuple[float, float, float], power: int, k: float
) -> None:
    """Exactly, for k a power of two, which no rounding touches; for any k where the best pool is clear."""
    chosen, scores = moment.weigh(*weights)
    assume(all(value == 0 or abs(value) > 1e-280 for value in scores))
    factor = 2.0**power
    scaled = moment.weigh(*(factor * value for value in weights))
    assert scaled[0] == chosen
    np.testing.assert_array_equal(scaled[1], factor * scores)
    if moment.is_clear(weights):
        assert moment.weigh(*(k * value for value in weights))[0] == chosen


@settings(max_examples=60)
@given(moment=moments(), weights=weights_of_three, constant=st.floats(-1e3, 1e3))
def test_a_constant_for_every_pool_changes_no_decision(
    moment: Moment, weights: tuple[float, float, float], constant: float
) -> None:
    """The decision is the argmax of the scores, and stays so when all of them move alike (by less than rounding
    would swallow).
    """
    chosen, scores = moment.weigh(*weights)
    among = scores[moment.allowed]
    gaps = among.max() - np.delete(among, among.argmax())
    assume((gaps > 1e-9 * max(abs(constant), np.abs(among).max())).all())
    assert moment.allowed[np.argmax(among + constant)] == chosen


@settings(max_examples=60)
@given(moment=moments(), gammas=st.lists(intensity, min_size=6, max_size=6), alpha=weight, lambda_=weight)
def test_beta_zero_is_blind_to_carbon(moment: Moment, gammas: list[float], alpha: float, lambda_: float) -> None:
    before = moment.weigh(alpha, 0.0, lambda_)
    moment.state.regions[0]["gamma"] = gammas[0]
    moment.state.memory["start_g_per_kwh"] = gammas[1 : 1 + len(moment.state.queues)]
    after = moment.weigh(alpha, 0.0, lambda_)
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])


@settings(max_examples=60)
@given(moment=moments(), alpha=weight, beta=weight)
def test_lambda_to_infinity_picks_the_least_v(moment: Moment, alpha: float, beta: float) -> None:
    goodput, carbon, violation = (term[moment.allowed] for term in moment.terms)
    gaps = violation - violation.min()
    gaps = gaps[gaps > 0]
    lambda_ = 4 * (alpha * goodput.max() + beta * carbon.max() + 1) / (gaps.min() if len(gaps) else 1.0)
    chosen, _ = moment.weigh(alpha, beta, lambda_)
    assert -moment.weigh(0, 0, 1)[1][chosen] == violation.min()


@settings(max_examples=60)
@given(moment=moments("LP/CP/BP/BP"), weights=weights_of_three, dirtier=st.floats(0, 1e4))
def test_a_dirtier_pool_is_no_more_attractive(
    moment: Moment, weights: tuple[float, float, float], dirtier: float
) -> None:
    before = moment.weigh(*weights)
    for pool in (2, 3):  # each batch pool has its own forecast
        own = moment.state.memory[pool]["start_g_per_kwh"]
        moment.state.memory[pool]["start_g_per_kwh"] += dirtier
        after = moment.weigh(*weights)
        moment.state.memory[pool]["start_g_per_kwh"] = own
        assert after[1][pool] <= before[1][pool]
        np.testing.assert_array_equal(np.delete(after[1], pool), np.delete(before[1], pool))
        if before[0] != pool:
            assert after[0] == before[0]
    moment.state.regions[0]["gamma"] += dirtier  # the present intensity counts for the other two
    after = moment.weigh(*weights)
    assert (after[1][:2] <= before[1][:2]).all()
    np.testing.assert_array_equal(after[1][2:], before[1][2:])
    if before[0] >= 2:
        assert after[0] == before[0]


@settings(max_examples=50)
@given(moment=moments(), weights=weights_of_three)
def test_alike_pools_tie_and_the_lower_one_wins(moment: Moment, weights: tuple[float, float, float]) -> None:
    moment.state.tiers["roles"] = 7
    moment.state.queues[1:] = moment.state.queues[0]
    moment.state.memory[1:] = moment.state.memory[0]
    chosen, scores = moment.weigh(*weights)
    assert len(set(scores.tolist())) == 1
    assert chosen == moment.allowed[0]
    assert moment.weigh(0, 0, 0)[0] == moment.allowed[0]


@given(moment=moments(), weights=weights_of_three)
def test_a_request_goes_only_where_its_tier_may(moment: Moment, weights: tuple[float, float, float]) -> None:
    assert moment.weigh(*weights)[0] in moment.allowed


@settings(max_examples=60)
@given(moment=moments("LP/CP/BP"), more=st.integers(1, 10**6))
def test_more_waiting_is_no_less_risky(moment: Moment, more: int) -> None:
    """V never falls as work piles up in an open pool."""
    moment.state.queues["open"] = 1
    moment.state.queues["backlog"] = 0
    before = moment.terms[2]
    moment.state.queues["waiting"] += more
    moment.state.queues["waiting_prompt_tokens"] += more
    assert (moment.terms[2] >= before * (1 - 1e-12)).all()


def one_request(**limits: float) -> State:
    """Three idle pools, a request of 500 prompt and 222 output tokens, an average one; all limits infinite but
    those given. 200 g/kWh on average.
    """
    state = cluster_at_rest(pools("LP/CP/BP", [2, 2, 2]), 200.0, Means(500.0, 222.0))
    state.tiers["roles"] = 7
    for name in ("ttft_s", "tpot_s", "e2e_s", "ttft_after_release_s"):
        state.tiers[name] = limits.get(name, math.inf)
    state.live[0]["input_tokens"], state.live[0]["predicted_tokens"] = 500, 222.0
    return state


def test_score_is_equation_4() -> None:
    """By hand: 300 g/kWh now, 100 g/kWh forecast for the batch pool."""
    state = one_request()
    state.regions[0]["gamma"] = 300.0
    state.memory["start_g_per_kwh"] = 100.0
    goodput, carbon, violation = Moment(state, 0.0, Caps()).terms
    assert violation.tolist() == [0, 0, 0]
    assert goodput == pytest.approx([1, 1, 1])
    assert carbon == pytest.approx([1.5, 1.5, 0.5])
    chosen, scores = Moment(state, 0.0, Caps()).weigh(1.0, 0.5, 2.0)
    assert scores == pytest.approx([0.25, 0.25, 0.75])
    assert chosen == 2


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1 / 2), (2.0, 1 / 17), (0.5, 16 / 17)])
def test_risk_is_one_half_at_the_limit(factor: float, expected: float) -> None:
    """x^4 / (1 + x^4), with x the expected latency over the limit: here of the time between tokens, alone on a GPU."""
    step_s = FIXED["gpu.decode_base_s"] + FIXED["gpu.decode_s_per_seq"]
    assert Moment(one_request(tpot_s=factor * step_s), 0.0, Caps()).terms[2] == pytest.approx([expected] * 3)


# ---------------------------------------------------------------- whole runs


def decisions(result: Outcome) -> list[Array]:
    """Everything but carbon."""
    rows = rows_of(result)
    fields = ("seq", "gpu", "released_s", "admitted_s", "first_token_s", "finished_s", "energy_j", "met")
    counts = np.array([result.unfinished, result.preemptions, result.events, result.idle_energy_j])
    return [*(rows[name] for name in fields), result.histograms, counts]


def assert_same_decisions(one: Outcome, other: Outcome) -> None:
    for left, right in zip(decisions(one), decisions(other), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("policy", CAPS)
@settings(max_examples=20)
@given(data=st.data(), power=st.integers(-20, 20))
def test_scaling_weights_changes_no_run(policy: str, data: st.DataObject, power: int) -> None:
    case = data.draw(cases(policy))
    factor, chosen = 2.0**power, case.config.policy
    scaled = {
        "policy.alpha": factor * chosen.alpha,
        "policy.beta": factor * chosen.beta,
        "policy.lambda": factor * chosen.lambda_,
    }
    assert_same_decisions(play_fast(case), play_fast(replace(case, config=case.config.replace(scaled))))


@pytest.mark.parametrize("policy", CAPS)
@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_beta_zero_makes_a_run_blind_to_the_grid(policy: str, data: st.DataObject, seed: int) -> None:
    case, rng = data.draw(cases(policy)), np.random.default_rng(seed)
    case = replace(case, config=case.config.replace({"policy.beta": 0.0}))
    monitor = case.monitor
    other = replace(
        monitor,
        trace=replace(monitor.trace, g_per_kwh=rng.uniform(1, 900, len(monitor.trace.times_s))),
        threshold_g_per_kwh=rng.uniform(0, 900, len(monitor.threshold_s)),
        forecast=replace(monitor.forecast, g_per_kwh=rng.uniform(1, 900, monitor.forecast.g_per_kwh.shape)),
    )
    assert_same_decisions(play_fast(case), play_fast(replace(case, monitor=other)))


@settings(max_examples=20)
@given(data=st.data())
def test_without_weights_the_lowest_pool_gets_all(data: st.DataObject) -> None:
    case = data.draw(cases("caps"))
    zero = {"policy.alpha": 0.0, "policy.beta": 0.0, "policy.lambda": 0.0} | {
        f"slo.{tier}.roles": "LP/CP/BP" for tier in sections.TIERS
    }
    rows = rows_of(play_fast(replace(case, config=case.config.replace(zero))))
    assert (rows["pool"] == 0).all()
