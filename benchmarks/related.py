"""`python -m benchmarks.related`: the savings that related publications report, beside those on the nearest set-up
that can be built here.

Their clusters, jobs and grids are not to be had; what is compared is the kind of saving, on the built-in grid
(California) and requests of an LLM. Each row names what is nearest and what differs. It prints the table of
docs/regions.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from caps_fast import preset, simulate
from caps_fast.carbon.trace import built_in
from caps_fast.grid_section import Carbon
from caps_fast.scenario import Scenario

DAYS = 2.0
START = datetime(2026, 3, 2, tzinfo=UTC)
REGIONS = ("es", "fr", "be", "nl")


@dataclass(frozen=True)
class Row:
    """A published saving, and ours: shares of the carbon of the other policy."""

    source: str
    published: str
    setup: str
    saving: float
    at_equal_energy: float  # the saving in g per kWh alone


def rows(folder: Path) -> Iterator[Row]:
    """All rows; grids are written to the folder."""
    for spread in (0.1, 0.2, 0.3):
        config = four_regions(folder, spread)
        found, other = (
            simulate(config.replace({"policy.name": name})).metrics for name in ("greencourier", "round-robin")
        )
        setup = (
            f"four regions, levels {1 - spread:g} to {1 + spread:g} of one grid, an eighth of the work that they "
            "could do; against round-robin"
        )
        yield row("GreenCourier", "13.25 %", setup, found, other)
    for share in (0.1, 0.25, 0.5):
        config = batch(share)
        scaled = simulate(config.replace({"policy.name": "carbon-scaler"})).metrics
        agnostic = simulate(config.replace({"policy.name": "edf", "policy.scaling": "power-down"})).metrics
        resumed = simulate(
            config.replace(
                {
                    "policy.name": "carbon-aware",
                    "policy.scaling": "power-down",
                    "regions.grid.monitor.gate_quantile": share + 0.1,
                }
            )
        ).metrics
        setup = f"batch of one day, due in one day, {share:.0%} of a pool that sleeps"
        yield row("CarbonScaler", "51 %", f"{setup}; against starting at once", scaled, agnostic)
        yield row("CarbonScaler", "37 %", f"{setup}; against waiting for hours below a threshold", scaled, resumed)
        green = simulate(config.replace({"policy.name": "green", "policy.scaling": "power-down"})).metrics
        yield row("GREEN", "up to 41.2 %", f"{setup}; against starting at once", green, agnostic)


def row(source: str, published: str, setup: str, found: dict[str, float], other: dict[str, float]) -> Row:
    """Ours: of all carbon of the replicas, per token of finished requests."""

    def per_kwh(metrics: dict[str, float]) -> float:
        return (
            metrics["bill_kg"] / metrics["bill_kwh"]
            if source != "GreenCourier"
            else metrics["carbon_kg"] / metrics["energy_kwh"]
        )

    name = "bill_g_per_1k_tokens" if source != "GreenCourier" else "carbon_g_per_1k_tokens"
    return Row(source, published, setup, 1 - found[name] / other[name], 1 - per_kwh(found) / per_kwh(other))


def four_regions(folder: Path, spread: float) -> Scenario:
    """Four regions an hour apart at the most, whose grids have the same shape; requests from everywhere, nobody
    waits.
    """
    trace, regions = built_in(Carbon(), 3 * 86400.0), {}
    for at, name in enumerate(REGIONS):
        level = 1 - spread + 2 * spread * at / (len(REGIONS) - 1)
        lines = ["zone,issued_at,valid_at,g_per_kwh,kind,scope"]
        for hour in range(-168, 72):
            value = level * float(trace.at((hour + 9) * 3600.0))
            lines.append(f"{name},,{START + timedelta(hours=hour):%Y-%m-%dT%H:%MZ},{value:.2f},average,lifecycle")
        path = folder / f"{name}-{spread:g}.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        regions[name] = {"carbon": {"file": str(path)}}
    pools = [{"name": name, "role": "LP", "replicas": 6, "gpu": "gpu", "region": name} for name in REGIONS]
    return base(pools).replace(
        {"regions": regions, "pools": pools, "start": f"{START:%Y-%m-%dT%H:%MZ}", "workload.rate_rps": 8.0}
    )


def batch(share: float) -> Scenario:
    """A day's batch for one pool of replicas that sleep, which would keep this share of it busy; due a day after it
    comes, all in the first hour.
    """
    pools = [{"name": "batch", "role": "BP", "replicas": 8, "gpu": "gpu", "region": "grid"}]
    config = base(pools).replace(
        {"pools": pools, "gpus.gpu.sleep_w": 0.0, "gpus.gpu.wake_s": 30.0, "regions.grid.monitor.window_h": 168.0}
    )
    profile = {"step_s": 3600.0, "begins": "midnight", "factors": [24.0] + [0.0] * 23}
    tiers = {f"slo.{tier}.share": float(tier == "bronze") for tier in ("gold", "silver", "bronze")}
    kind = config.fleet.only_kind
    per_request_s = (
        kind.decode_base_s / kind.max_batch + kind.decode_s_per_seq
    ) * 223.0 + kind.prefill_s_per_token * 1001.0  # mean lengths
    load = {
        "workload.rate_table": profile,
        "workload.rate_rps": share * 8 / per_request_s,
        "start": "2026-03-02T00:00Z",
    }
    return config.replace({**tiers, **load, "slo.bronze.e2e_s": 86400.0, "slo.bronze.ttft_after_release_s": None})


def base(pools: list[dict[str, Any]]) -> Scenario:
    kind = preset("measured").fleet.only_kind.model_dump(mode="json")
    limits = {f"slo.{tier}.roles": "LP/CP/BP" for tier in ("gold", "silver", "bronze")}
    long = {"gpus": {"gpu": kind}, "pools": [pool | {"region": "grid"} for pool in pools], "regions": {"grid": {}}}
    return preset("measured").replace({**long, **limits, "days": DAYS, "predictor.source": "declared"})


def main() -> None:
    print("| publication | saving there | here | at equal energy | set-up here |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for one in rows(Path(folder)):
            print(f"| {one.source} | {one.published} | {one.saving:.1%} | {one.at_equal_energy:.1%} | {one.setup} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
