"""The synthetic workload draws what its scenario declares, the same for every policy and block size.

Statistical tests use one fixed seed and a level of 1e-3: a sample of this size betrays an error of a fraction of a per
cent.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from caps_fast import scenario
from caps_fast.arrays import Array
from caps_fast.workload.synthetic import CONTINUES, MAIN_TASK_SHARE, MAX_TURNS, SyntheticWorkload, tenants

LEVEL = 1e-3
DRAWN_BEFORE_TEXT = ("category", "tenant", "tier", "task", "turns", "input_tokens")


def declared(**changes: Any) -> scenario.Scenario:
    """The paper's workload, shortened, with dotted fields (`__` for the dot) changed."""
    base = {"seed": 11, "days": 0.25, "predictor.source": "declared"}
    return scenario.preset("paper").replace(base | {name.replace("__", "."): value for name, value in changes.items()})


def drawn(config: scenario.Scenario, block: int = 50_000) -> Array:
    return np.concatenate(list(SyntheticWorkload(config).blocks(block)))


@cache
def sample() -> Array:
    """216,000 requests or so."""
    return drawn(declared())


def ks_pvalue_of_whole_numbers(values: Array, cdf: Any) -> float:
    """Kolmogorov-Smirnov for whole numbers, whose `cdf` is known at each (conservative, as jumps only make the
    statistic smaller).
    """
    at, counts = np.unique(values, return_counts=True)
    distance = np.abs(np.cumsum(counts) / len(values) - cdf(at)).max()
    return float(stats.kstwo.sf(distance, len(values)))


def test_arrivals_are_poisson() -> None:
    config, arrival_s = declared(), sample()["arrival_s"]
    rate, horizon_s = config.workload.rate_rps, config.horizon_s
    assert rate is not None
    assert arrival_s[0] > 0
    assert arrival_s[-1] < horizon_s
    assert (np.diff(arrival_s) >= 0).all()
    assert stats.kstest(np.diff(arrival_s), stats.expon(scale=1 / rate).cdf).pvalue > LEVEL
    assert stats.poisson(rate * horizon_s).cdf(len(arrival_s)) == pytest.approx(0.5, abs=0.5 - LEVEL)
    a_minute = np.histogram(arrival_s, np.arange(0, horizon_s + 1, 60.0))[0]
    dispersion = a_minute.var(ddof=1) / a_minute.mean() * (len(a_minute) - 1)
    assert stats.chi2(len(a_minute) - 1).cdf(dispersion) == pytest.approx(0.5, abs=0.5 - LEVEL)


@pytest.mark.parametrize("rate", [0.01, 2.0, 300.0])
def test_rate_is_kept(rate: float) -> None:
    config = declared(workload__rate_rps=rate, days=4000 / rate / 86400)
    assert stats.poisson(4000).cdf(len(drawn(config))) == pytest.approx(0.5, abs=0.5 - LEVEL)


@pytest.mark.parametrize(
    ("field", "shares"),
    [("tier", (0.3, 0.4, 0.3)), ("category", (0.5, 0.35, 0.15))],
)
def test_shares(field: str, shares: tuple[float, ...]) -> None:
    counts = np.bincount(sample()[field], minlength=3)
    assert stats.chisquare(counts, np.array(shares) * counts.sum()).pvalue > LEVEL


def test_other_shares() -> None:
    changes = {
        "slo.gold.share": 0.0,
        "slo.silver.share": 0.9,
        "slo.bronze.share": 0.1,
        "workload.category_shares": (0.0, 0.2, 0.8),
    }
    block = drawn(declared().replace(changes))
    for field, shares in (("tier", (0.9, 0.1)), ("category", (0.2, 0.8))):
        counts = np.bincount(block[field], minlength=3)
        assert counts[0] == 0
        assert stats.chisquare(counts[1:], np.array(shares) * counts.sum()).pvalue > LEVEL


@pytest.mark.parametrize("count", [3, 10, 60])
@pytest.mark.parametrize("shares", [(0.3, 0.4, 0.3), (0.0, 1.0, 0.0), (0.98, 0.01, 0.01)])
def test_tenants_split_their_tier(count: int, shares: tuple[float, float, float]) -> None:
    tiers = dict(zip(("slo.gold.share", "slo.silver.share", "slo.bronze.share"), shares, strict=True))
    who = tenants(declared(workload__tenants=count).replace(tiers))
    share = np.diff(who.cumulative_share, prepend=0.0)
    assert len(share) == count
    for tier, expected in enumerate(shares):
        assert share[who.tier == tier].sum() == pytest.approx(expected, abs=1e-12)
    assert np.average(who.trait, weights=share) == pytest.approx(0, abs=1e-12)
    several = np.bincount(who.tier).max() > 1  # tenants of a rank are alike: one a tier leaves nothing to differ by
    assert np.average(who.trait**2, weights=share) == pytest.approx(float(several), abs=1e-12)


def test_a_tenant_keeps_its_tier_and_mostly_its_task() -> None:
    block, who = sample(), tenants(declared())
    np.testing.assert_array_equal(block["tier"], who.tier[block["tenant"]])
    of_main_task = int((block["task"] == who.task[block["tenant"]]).sum())
    assert stats.binomtest(of_main_task, len(block), MAIN_TASK_SHARE).pvalue > LEVEL
    counts = np.bincount(block["tenant"], minlength=len(who.tier))
    assert stats.chisquare(counts, np.diff(who.cumulative_share, prepend=0.0) * len(block)).pvalue > LEVEL


def test_turns_are_geometric() -> None:
    turns = sample()["turns"].astype(int)
    assert turns.min() == 1
    assert turns.max() <= MAX_TURNS
    assert ks_pvalue_of_whole_numbers(turns, stats.geom(1 - CONTINUES).cdf) > LEVEL


@pytest.mark.parametrize("category", [0, 1, 2])
def test_inputs_are_log_uniform_within_their_category(category: int) -> None:
    edges = declared().workload.input_token_edges[category : category + 2]
    tokens = sample()["input_tokens"][sample()["category"] == category]
    assert tokens.min() >= edges[0]
    assert tokens.max() < edges[1]
    assert (
        ks_pvalue_of_whole_numbers(tokens, lambda n: np.log((n + 1) / edges[0]) / np.log(edges[1] / edges[0])) > LEVEL
    )


@pytest.mark.parametrize("seed", [0, 11, 12])
@pytest.mark.parametrize(("log_mean", "log_sd"), [(4.8, 1.1), (6.0, 0.4)])
def test_outputs_are_log_normal_whatever_the_tenants(seed: int, log_mean: float, log_sd: float) -> None:
    tokens = drawn(declared(seed=seed, workload__output_log_mean=log_mean, workload__output_log_sd=log_sd))[
        "output_tokens"
    ]
    assert ks_pvalue_of_whole_numbers(tokens, lambda n: stats.norm(log_mean, log_sd).cdf(np.log(n + 0.5))) > LEVEL


def test_declared_means() -> None:
    source = SyntheticWorkload(declared())
    for mean, tokens in (
        (source.mean_output_tokens, sample()["output_tokens"]),
        (source.mean_input_tokens, sample()["input_tokens"]),
    ):
        error = tokens.std() / math.sqrt(len(tokens))
        assert abs(tokens.mean() - mean) < stats.norm.isf(LEVEL / 2) * error + 0.5  # whole tokens


@pytest.mark.parametrize("predictability", [0.3, 0.6, 0.96])
def test_predictability_is_the_explained_share_of_variance(predictability: float) -> None:
    long = {
        "workload__output_log_mean": 8.0,
        "workload__max_output_tokens": 2**30,
    }  # so that whole tokens and the limit do not show
    block = drawn(declared(workload__predictability=predictability, **long))
    logs, explained = np.log(block["output_tokens"]), np.log(block["predicted_tokens"])
    reach = stats.norm.isf(LEVEL / 2) / math.sqrt(len(block))
    correlation = np.corrcoef(logs, explained)[0, 1]
    assert abs(math.atanh(correlation) - math.atanh(math.sqrt(predictability))) < reach
    assert np.var(explained) / 1.1**2 == pytest.approx(predictability, rel=2 * math.sqrt(2) * reach)


def test_predictability_at_its_ends() -> None:
    certain = drawn(declared(workload__predictability=1.0))
    np.testing.assert_array_equal(certain["output_tokens"], np.maximum(1, np.round(certain["predicted_tokens"])))
    blind = drawn(declared(workload__predictability=0.0))
    assert np.unique(blind["predicted_tokens"]) == pytest.approx([math.exp(4.8)])


def test_prediction_follows_from_the_features() -> None:
    """Of two requests of one tenant, task and category, the longer input never has the shorter prediction (the
    position of the input explains it).
    """
    block = sample()
    who = block["tenant"].astype(np.int64) * 9 + block["task"] * 3 + block["category"]
    order = np.lexsort((block["predicted_tokens"], block["input_tokens"], who))
    same = np.diff(who[order]) == 0
    longer = np.diff(block["input_tokens"][order]) > 0
    rise = np.diff(block["predicted_tokens"][order])
    assert (rise[same & longer] >= 0).all()
    assert (same & longer).sum() > 10_000


@settings(max_examples=20)
@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32 - 1))
def test_same_requests_whatever_the_block_size(size: int, seed: int) -> None:
    config = declared(seed=seed, days=0.002)
    np.testing.assert_array_equal(drawn(config, size), drawn(config))


def test_same_seed_same_requests_and_another_seed_others() -> None:
    np.testing.assert_array_equal(drawn(declared()), sample())
    others = drawn(declared(seed=12))[:1000]
    for field in ("arrival_s", "tenant", "input_tokens", "output_tokens", "turns"):
        assert (others[field] != sample()[field][:1000]).mean() > 0.3, field


def test_requests_do_not_depend_on_the_horizon() -> None:
    longer = drawn(declared(days=0.5))
    np.testing.assert_array_equal(longer[: len(sample())], sample())


def test_training_days_are_other_days() -> None:
    history = np.concatenate(list(SyntheticWorkload(declared(), start_s=-3600.0, end_s=0.0).blocks(5000)))
    assert history["arrival_s"][0] >= -3600
    assert history["arrival_s"][-1] < 0
    assert (history["input_tokens"] != sample()["input_tokens"][: len(history)]).mean() > 0.9


COMMON_RANDOM_NUMBERS = [
    {"policy.name": "edf", "policy.beta": 3.0},
    {"cluster.split": "6/10/8", "cluster.max_batch": 4},
    {"gpu.decode_base_s": 1.0},
    {"carbon.scope": "direct", "monitor.forecast": "noisy"},
    {"slo.gold.ttft_s": 9.0, "control_step_s": 60.0, "drain_h": 1.0},
]


@pytest.mark.parametrize("changes", COMMON_RANDOM_NUMBERS, ids="+".join)
def test_common_random_numbers(changes: dict[str, Any]) -> None:
    np.testing.assert_array_equal(drawn(declared().replace(changes)), sample())


ONE_STREAM_A_PURPOSE = [
    ({"workload.output_log_mean": 5.5}, ("arrival_s", *DRAWN_BEFORE_TEXT)),
    ({"workload.output_log_sd": 0.5}, ("arrival_s", *DRAWN_BEFORE_TEXT)),
    ({"workload.predictability": 0.5}, ("arrival_s", *DRAWN_BEFORE_TEXT)),
    ({"workload.max_output_tokens": 100}, ("arrival_s", "predicted_tokens", *DRAWN_BEFORE_TEXT)),
    (
        {"workload.input_token_edges": (1, 2, 3, 4)},
        ("arrival_s", "category", "tenant", "tier", "task", "turns", "output_tokens", "predicted_tokens"),
    ),
    (
        {"workload.category_shares": (0.1, 0.1, 0.8)},
        ("arrival_s", "tenant", "tier", "task", "turns", "output_tokens", "predicted_tokens"),
    ),
    ({"workload.tenants": 9}, ("arrival_s", "category", "turns", "input_tokens")),
    ({"slo.gold.share": 0.2, "slo.silver.share": 0.5}, ("arrival_s", "category", "turns", "input_tokens")),
]


@pytest.mark.parametrize(
    ("changes", "kept"), ONE_STREAM_A_PURPOSE, ids=lambda value: "+".join(value) if isinstance(value, dict) else ""
)
def test_a_parameter_changes_only_its_own_draws(changes: dict[str, Any], kept: tuple[str, ...]) -> None:
    other = drawn(declared().replace(changes))
    assert len(other) == len(sample())
    for field in kept:
        np.testing.assert_array_equal(other[field], sample()[field], err_msg=field)
    assert (other != sample()).any()


def test_the_rate_stretches_arrivals_and_changes_nothing_else() -> None:
    faster = drawn(declared(workload__rate_rps=20.0, days=0.125))
    n = min(len(faster), len(sample()))
    assert n > 200_000
    np.testing.assert_allclose(faster["arrival_s"][:n] * 2, sample()["arrival_s"][:n], rtol=1e-12)
    for field in (*DRAWN_BEFORE_TEXT, "output_tokens", "predicted_tokens"):
        np.testing.assert_array_equal(faster[field][:n], sample()[field][:n], err_msg=field)
