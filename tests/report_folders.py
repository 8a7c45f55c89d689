"""Results of small sweeps as a folder that a report reads."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from caps_fast.policies import MAIN
from caps_fast.report import figures


def runs_of(
    policies: tuple[str, ...] = MAIN, preset: str = "paper", rates: tuple[float, ...] = (2.0, 10.0, 16.0)
) -> pl.DataFrame:
    """Runs as a sweep leaves them, with figures that can be told apart."""
    rows = []
    for place, policy in enumerate(policies):
        for rate in rates:
            for seed in (0, 1):
                row = {
                    "policy": policy,
                    "rate_rps": rate,
                    "seed": seed,
                    "split": "8/8/8",
                    "days": 2.0,
                    "preset": preset,
                    "requests": 1000,
                }
                figures_of = {
                    "slo_attainment": 0.9 - 0.02 * rate - 0.01 * place + 0.002 * seed,
                    "carbon_g_per_1k_tokens": 0.4 + 0.01 * place + 0.001 * rate,
                }
                rows.append(
                    row
                    | figures_of
                    | {
                        "ttft_after_release_p95_s": 0.5 + 0.1 * place + seed,
                        "workload.trace": None,
                        "policy.queueing": "cyclic",
                    }
                )
    return pl.DataFrame(rows, infer_schema_length=None)


def tables_of(preset: str = "paper", policy: str = "caps") -> dict[str, pl.DataFrame]:
    """Small tables as `reproduce` leaves them."""
    claim = {"claim": "a", "text": "CAPS saves", "unit": "%", "paper": 0.268, "test": "within 3 %", "preset": preset}
    claims = [claim | {"ours": 0.25, "low": 0.24, "high": 0.26, "seeds": 5, "verdict": "holds", "why": "Because."}]
    claims.append(
        claim
        | {
            "claim": "b",
            "text": "It is cold",
            "ours": -0.1,
            "low": -0.2,
            "high": float("nan"),
            "seeds": 5,
            "verdict": "fails",
            "why": preset,
        }
    )
    cells = [
        (level, category, tier) for level in figures.LEVELS for category in figures.CATEGORIES for tier in figures.TIERS
    ]
    savings = [
        {"preset": preset, "level": level, "category": category, "tier": tier, "saving": 0.01 * at}
        for at, (level, category, tier) in enumerate(cells)
    ]
    parts = [
        {"preset": preset, "policy": policy, "part": part, "saving": 0.1, "low": 0.05, "high": 0.15}
        for part in ("total", "shifting", "packing", "rest")
    ]
    parts.append({"preset": preset, "policy": "bound", "part": "at once", "saving": 0.5, "low": 0.4, "high": 0.6})
    keys = {"preset": preset, "policy": policy, "seed": 0}
    series = [
        keys
        | {
            "t_s": 1800.0 * at,
            "gamma_g_per_kwh": 200.0 + at,
            "pool": pool,
            "role": ("LP", "CP", "BP")[pool],
            "power_w": 800.0 + pool,
        }
        | {"residents": at, "waiting": 10 * at, "open": at % 2 == 0}
        for pool in range(3)
        for at in range(48)
    ]
    counts = [
        keys
        | {"latency": kind, "tier": tier, "from_s": 0.1 * 2**at, "to_s": 0.1 * 2 ** (at + 1), "requests": 100 - 10 * at}
        for kind in ("ttft", "ttft_after_release", "tpot", "e2e")
        for tier in figures.TIERS
        for at in range(8)
    ]
    return {
        "claims": pl.DataFrame(claims),
        "savings": pl.DataFrame(savings),
        "decomposition": pl.DataFrame(parts),
        "series": pl.DataFrame(series),
        "histograms": pl.DataFrame(counts),
    }


def folder_of(path: Path, preset: str = "paper", policy: str = "caps", whole: bool = True) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    runs_of((*MAIN[:-1], policy), preset).write_parquet(path / "runs.parquet")
    for name, frame in tables_of(preset, policy).items() if whole else ():
        frame.write_parquet(path / f"{name}.parquet")
    return path
