"""Time and size of a sweep, before it is started."""

from __future__ import annotations

from dataclasses import dataclass

from caps_fast.sweep.plan import Plan

# Measured on one core of a shared 2-core machine at the paper's scale, the drawing of requests included; a faster
# machine takes less.
REQUESTS_PER_CORE_S = 3.5e6
RUN_S = 0.02  # fixed time of a run: policy, monitor, arrays
ROW_BYTES = 560  # of a Parquet file with many runs, without metrics by pool
FILE_BYTES = 52_000  # of its column descriptions


@dataclass(frozen=True)
class Estimate:
    """Size of a sweep: `requests` is 0 if traces set the rates."""

    runs: int
    requests: float
    seconds: float
    bytes: int


def estimate(plan: Plan, jobs: int) -> Estimate:
    """Runs, requests, seconds on `jobs` cores, and bytes of results."""
    runs, requests = len(plan), plan.requests()
    return Estimate(
        runs, requests, (requests / REQUESTS_PER_CORE_S + runs * RUN_S) / jobs, FILE_BYTES + ROW_BYTES * runs
    )
