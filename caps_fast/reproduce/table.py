"""Table 1 as text: ours and the paper's."""

from __future__ import annotations

import polars as pl

from caps_fast.errors import InputError
from caps_fast.reproduce.published import RATE_RPS, TABLE1
from caps_fast.reproduce.statistics import estimate
from caps_fast.text_table import counted

METRICS = ("slo_attainment", "carbon_g_per_1k_tokens", "ttft_after_release_p95_s", "carbon_g_per_1k_good_tokens")
HEADS = ("SLO att. %", "carbon/RR", "P95 ms", "good/RR")


def table1(runs: pl.DataFrame) -> str:
    """Table 1 of a sweep's runs at 10 req/s, with the paper's figures, carbon as ratios to Round Robin; one block per
    preset.

    If the sweep holds several, it uses the longest horizon and the preset's own fields. Raises InputError without runs
    at 10 req/s.
    """
    chosen = comparison(runs)
    lines = []
    for (preset,), block in chosen.group_by("preset", maintain_order=True):
        lines.append(
            f"{preset}: {counted(block['seeds'][0], 'seed')}, {counted(block['days'][0], 'day')} at {RATE_RPS:g} "
            "req/s; ours, then the paper's"
        )
        lines.append(f"  {'policy':14}" + "".join(f"{head:>20}" for head in HEADS))
        for row in block.iter_rows(named=True):
            cells = [
                f"{_shown(metric, row[metric]):>11}{_shown(metric, row[f'paper_{metric}']):>9}" for metric in METRICS
            ]
            lines.append(f"  {row['policy']:14}" + "".join(cells))
    return "\n".join(lines)


def comparison(runs: pl.DataFrame) -> pl.DataFrame:
    """One row per preset and policy of Table 1: ours (mean over seeds), its interval, the paper's; carbon as ratios
    to Round Robin, paired.
    """
    at_rate = runs.filter(pl.col("rate_rps") == RATE_RPS, pl.col("policy").is_in(list(TABLE1)))
    if at_rate.is_empty():
        raise InputError(f"no runs at {RATE_RPS:g} req/s under {', '.join(TABLE1)}: expected a sweep that has them")
    rows = []
    for (preset,), block in at_rate.group_by("preset", maintain_order=True):
        own = _plain(block)
        base = own.filter(pl.col("policy") == "round-robin").sort("seed")
        for policy, paper in TABLE1.items():
            ours = own.filter(pl.col("policy") == policy).sort("seed")
            if ours.is_empty():
                continue
            row = {"preset": preset, "policy": policy, "days": ours["days"][0], "seeds": ours.height}
            for metric in METRICS:
                values, published = ours[metric].to_numpy(), getattr(paper, PAPER_FIELD[metric])
                if metric.startswith("carbon") and base.height == ours.height:
                    values, published = (
                        values / base[metric].to_numpy(),
                        published / getattr(TABLE1["round-robin"], PAPER_FIELD[metric]),
                    )
                found = estimate(values)
                row |= {
                    metric: found.mean,
                    f"{metric}_low": found.low,
                    f"{metric}_high": found.high,
                    f"paper_{metric}": published,
                }
            rows.append(row)
    return pl.DataFrame(rows)


PAPER_FIELD = {metric: "p95_s" if metric == "ttft_after_release_p95_s" else metric for metric in METRICS}


def _plain(block: pl.DataFrame) -> pl.DataFrame:
    """Of runs at one rate, those that differ in policy and seed only: the longest horizon, Round Robin's first
    split and weights.
    """
    longest = block.filter(pl.col("days") == pl.col("days").max())
    for column in ("split", "alpha", "beta", "lambda"):
        longest = (
            longest.filter(pl.col(column) == longest.filter(pl.col("policy") == "round-robin")[column][0])
            if _has_rr(longest)
            else longest
        )
    return longest.unique(["policy", "seed"], keep="first", maintain_order=True)


def _has_rr(block: pl.DataFrame) -> bool:
    return not block.filter(pl.col("policy") == "round-robin").is_empty()


def _shown(metric: str, value: float) -> str:
    if metric == "slo_attainment":
        return f"{100 * value:.1f}"
    return f"{1000 * value:,.0f}" if metric.endswith("_s") else f"{value:.3f}"
