"""Where a saving comes from: cleaner hours, cheaper tokens, and what the two overlap in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast.arrays import J_PER_KWH
from caps_fast.carbon.trace import carbon_trace
from caps_fast.reproduce.evidence import Evidence

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Saving:
    """Saving over Round Robin in attributed carbon per token, by seed, as fractions: total = shifting + packing + rest.

    shifting    from meeting a lower mean intensity at Round Robin's energy per token
    packing     from using less energy per token at Round Robin's mean intensity
    rest        the overlap: what is saved by one cannot be saved again by the other, minus shifting x packing
    """

    total: Floats
    shifting: Floats
    packing: Floats
    rest: Floats


def decompose(evidence: Evidence, policy: str = "caps") -> Saving:
    """The saving of a policy at 10 req/s, taken apart exactly: carbon per token = intensity met x energy per token."""
    intensity, energy = (_of(evidence, policy, part) / _of(evidence, "round-robin", part) for part in ("g_per_kwh", "kwh_per_token"))
    shifting, packing = 1 - intensity, 1 - energy
    total = 1 - intensity * energy
    return Saving(total, shifting, packing, total - shifting - packing)


def bill_kg(evidence: Evidence, policy: str, until_s: Floats | None = None, **fields: object) -> Floats:
    """Carbon of a run with every idle GPU counted, up to `until_s` by seed (its own end where that is later); kg.

    Runs that defer work end later. They are compared at a common end, or the idle hours after the last arrival would count against them alone.
    """
    rows = evidence.chosen(policy, **fields)
    end_s = rows["end_s"].to_numpy()
    total: Floats = (rows["carbon_kg"] + rows["idle_carbon_kg"]).to_numpy()
    if until_s is None:
        return total
    config = evidence.base.replace({"days": float(rows["days"][0])})
    trace = carbon_trace(config.carbon, config.horizon_s)
    idle_w = config.cluster.gpus * config.gpu.idle_w * config.gpu.gpus_per_replica
    after = np.array([float(trace.integral(start_s, max(until, start_s))) for start_s, until in zip(end_s, until_s, strict=True)])
    return total + idle_w * after / J_PER_KWH / 1000


def common_end_s(evidence: Evidence) -> Floats:
    """The latest end of the five policies' runs at 10 req/s, by seed."""
    whole = evidence.runs.filter(pl.col("preset") == evidence.preset, pl.col("days") == pl.col("days").max())
    ends = whole.group_by("seed").agg(pl.col("end_s").max()).sort("seed")
    found: Floats = ends["end_s"].to_numpy()
    return found


def _of(evidence: Evidence, policy: str, part: str) -> Floats:
    energy_kwh = evidence.of(policy, "energy_kwh")
    if part == "g_per_kwh":
        return 1000 * evidence.of(policy, "carbon_kg") / energy_kwh
    return energy_kwh / evidence.of(policy, "output_tokens")
