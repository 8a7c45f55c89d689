"""One sentence per claim with measured values: the reason for its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable

from caps_fast.arrays import J_PER_KWH
from caps_fast.policies import MAIN
from caps_fast.reproduce.decompose import decompose, g_per_kwh, kwh_per_token
from caps_fast.reproduce.evidence import Evidence
from caps_fast.reproduce.physics import bound
from caps_fast.reproduce.plan import SPLITS
from caps_fast.reproduce.statistics import relative_deviation
from caps_fast.sections import TIERS

NAMES = {
    **{
        "round-robin": "Round Robin",
        "edf": "EDF",
        "slo-aware": "SLO-Aware",
        "carbon-aware": "Carbon-Aware",
        "caps": "CAPS",
    },
    **{
        "caps-no-predictor": "without the predictor",
        "caps-no-carbon": "without the carbon term",
        "caps-no-tiers": "without tiers",
    },
}
Sentence = Callable[[Evidence], str]


def by_tier(policy: str, other: str) -> Sentence:
    """Attainment by tier under two policies."""

    def sentence(e: Evidence) -> str:
        tiers = (
            f"{tier.capitalize()} {_attained(e, policy, tier):.1%} against {_attained(e, other, tier):.1%}"
            for tier in TIERS
        )
        return f"By tier, {NAMES[policy]} against {NAMES[other]}: {', '.join(tiers)}."

    return sentence


def tiers_of(policy: str) -> Sentence:
    """Attainment by tier."""

    def sentence(e: Evidence) -> str:
        return f"{', '.join(f'{tier.capitalize()} {_attained(e, policy, tier):.1%}' for tier in TIERS)}."

    return sentence


def p95(policy: str, other: str) -> Sentence:
    """P95 after release under two policies."""

    def sentence(e: Evidence) -> str:
        ours, theirs = (1000 * _mean(e, name, "ttft_after_release_p95_s") for name in (policy, other))
        return f"Time to first token after release, P95: {NAMES[policy]} {ours:.0f} ms, {NAMES[other]} {theirs:.0f} ms."

    return sentence


def edf(e: Evidence) -> str:
    """Whether the order of requests matters."""
    how = (
        "sends requests to GPUs in turn as Round Robin does, so only the order in each GPU's queue differs"
        if e.base.policy.queueing == "cyclic"
        else "has one queue over all GPUs"
    )
    free = 1 - _mean(e, "edf", "utilization")
    return (
        f"EDF {how}; {free:.0%} of all slots are free on average, so that order seldom matters. "
        f"{by_tier('edf', 'round-robin')(e)}"
    )


def round_robin(e: Evidence) -> str:
    """The possible losses of Round Robin."""
    apart = (_mean(e, name, "tpot_p95_s") * 1000 for name in ("round-robin", "slo-aware"))
    first = (_mean(e, name, "ttft_after_release_p95_s") * 1000 for name in ("round-robin", "slo-aware"))
    tokens, ttft = (
        " against ".join(f"{value:.0f}" for value in apart),
        " against ".join(f"{value:.0f}" for value in first),
    )
    figures = f"P95 between tokens {tokens} ms, to the first token {ttft} ms"
    if e.difference("slo_attainment", "slo-aware", "round-robin").mean() <= 0:
        return (
            f"{_mean(e, 'round-robin', 'utilization'):.0%} of Round Robin's slots are in use, so that uneven GPUs "
            f"hardly hurt: {figures}."
        )
    return (
        f"Sending requests in turn loses by uneven GPUs: {figures}. Where more of it waited for slots, P95 would be "
        "seconds, "
        "as a GPU sees one request in 2.4 s."
    )


def saving(e: Evidence) -> str:
    """Shifting and packing."""
    parts = decompose(e)
    limits = bound(e.base)
    possible = 1 - limits.floor_g_per_1k_tokens(limits.tiers_wait_g_per_kwh) / _mean(
        e, "round-robin", "carbon_g_per_1k_tokens"
    )
    return (
        f"Shifting to cleaner hours saves {parts.shifting.mean():.1%}, cheaper tokens on fuller GPUs "
        f"{parts.packing.mean():.1%}; "
        f"{_mean(e, 'caps', 'held_share'):.0%} of tokens were held, "
        f"{_mean(e, 'caps', 'held_not_bronze_share'):.0%} of them not Bronze. "
        f"The saving is {parts.total.mean() / possible:.0%} of the {possible:.1%} that physics and deadlines allow."
    )


def intensities(e: Evidence) -> str:
    """Mean intensity met and energy per token."""
    parts = []
    for policy in ("round-robin", "carbon-aware", "caps", "caps-no-carbon", "caps-no-tiers"):
        joules = J_PER_KWH * kwh_per_token(e, policy).mean()
        parts.append(f"{NAMES[policy]} {g_per_kwh(e, policy).mean():.0f} g/kWh, {joules:.2f} J")
    return f"Mean intensity met and energy per token: {'; '.join(parts)}."


def good_tokens(e: Evidence) -> str:
    """Carbon per good token of all."""
    found = (f"{NAMES[name]} {_mean(e, name, 'carbon_g_per_1k_good_tokens'):.3f} g" for name in MAIN)
    return f"Carbon per 1K good tokens: {', '.join(found)}."


def absolute(e: Evidence) -> str:
    """The bound that no run can exceed."""
    ceiling = bound(e.base).ceiling_g_per_1k_tokens
    return (
        f"All GPUs at peak power in the dirtiest hour would emit {ceiling:.2f} g per 1K tokens at 10 req/s: no run "
        "of this cluster can be above."
    )


def release(e: Evidence) -> str:
    """Both clocks."""
    return (
        f"Counted from release; from arrival, held work included, P95 is {_mean(e, 'caps', 'ttft_p95_s'):,.0f} s. "
        f"To the last token it is {_mean(e, 'caps', 'e2e_p95_s'):,.0f} s."
    )


def largest_cell(e: Evidence) -> str:
    """The three largest savings."""
    top = e.mean_cell_savings.head(3)
    cells = (f"{tier} {category} at {level} carbon {value:.1%}" for level, category, tier, value in top.iter_rows())
    return f"Largest: {', '.join(cells)}."


def gold_short(e: Evidence) -> str:
    """Gold and short by carbon level, and the smallest cells."""
    savings = ((level, e.cell_saving(level, "short", "gold").mean()) for level in ("low", "mid", "high"))
    levels = (f"{level} {saving:.1%}" for level, saving in savings if not math.isnan(saving))
    last = e.mean_cell_savings.tail(1).row(0)
    return (
        f"By carbon level at arrival: {', '.join(levels)}; the smallest saving of all is {last[3]:.1%} ({last[2]} "
        f"{last[1]} at {last[0]} carbon)."
    )


def deviations(e: Evidence) -> str:
    """Where the spread is largest."""
    metrics = ("slo_attainment", "carbon_g_per_1k_tokens", "ttft_after_release_p95_s", "carbon_g_per_1k_good_tokens")
    worst = max((relative_deviation(e.of(policy, metric)), policy, metric) for policy in MAIN for metric in metrics)
    return f"Largest: {worst[2]} of {NAMES[worst[1]]}, {worst[0]:.2%}."


def splits(e: Evidence) -> str:
    """Saving and attainment under the other splits."""
    parts = []
    for split in SPLITS:
        saved = 1 - e.ratio("carbon_g_per_1k_tokens", "caps", "round-robin", split=split).mean()
        gap = 100 * e.difference("slo_attainment", "caps", "slo-aware", split=split).mean()
        parts.append(f"{split} saves {saved:.1%}, attainment {gap:+.1f} points against SLO-Aware")
    return f"{'; '.join(parts)}."


def _attained(e: Evidence, policy: str, tier: str) -> float:
    return _mean(e, policy, f"slo_attainment_{tier}")


def _mean(e: Evidence, policy: str, metric: str) -> float:
    return float(e.of(policy, metric).mean())
