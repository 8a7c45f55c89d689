"""Progress: runs, requests and the remaining time, logged periodically; the command line draws a bar.

A line at level INFO every `SPARSE_S`, and at the level LIVE, below DEBUG, every `LIVE_S`. Records carry `share`, the
completed part, and `ended`, whether it is the last one.
"""

from __future__ import annotations

import logging
import time

LIVE_S = 0.2
SPARSE_S = 30.0
LIVE = 5  # level of records for the bar only
logger = logging.getLogger(__name__)
TOLD_SHARE = 0.05  # requests that are enough to estimate the speed


class Progress:
    """Counts completed work and total work.

    runs        total number
    requests    expected total number; 0 if unknown: the remaining time then follows from runs
    """

    def __init__(self, runs: int, requests: float) -> None:
        self.runs, self.requests = runs, requests
        self.runs_done, self.requests_done = 0, 0.0
        self.runs_skipped, self.requests_skipped = 0, 0.0
        self.failed = 0
        self._lead_s, self._lead_share = (
            0.0,
            0.0,
        )  # time and amount of the first completed work, after compiling and training
        self._start_s = self._logged_s = self._drawn_s = time.monotonic()
        self._log(LIVE)

    def add(self, runs: int, requests: float, failed: int = 0) -> None:
        """Add completed runs and requests, and failed runs."""
        is_first = not (self.runs_done or self.requests_done)
        self.runs_done += runs
        self.requests_done += requests
        self.failed += failed
        if is_first:
            self._lead_s, self._lead_share = time.monotonic() - self._start_s, self._share()
        self.tell()

    def skip(self, requests: float, runs: int = 1) -> None:
        """Add runs that are already complete."""
        self.runs_skipped += runs
        self.requests_skipped += requests

    def tell(self) -> None:
        """Log the progress, if it is time to."""
        now_s = time.monotonic()
        if now_s - self._logged_s >= SPARSE_S:
            self._logged_s = self._drawn_s = now_s
            self._log(logging.INFO)
        elif now_s - self._drawn_s >= LIVE_S:
            self._drawn_s = now_s
            self._log(LIVE)

    def close(self) -> None:
        """Log the final state."""
        self._log(LIVE, ended=True)

    def _log(self, level: int, ended: bool = False) -> None:
        if logger.isEnabledFor(level):
            line = self.line(time.monotonic() - self._start_s)
            logger.log(level, "%s", line, extra={"share": min(self._share(), 1.0), "ended": ended})

    def line(self, elapsed_s: float) -> str:
        """The line after this many seconds."""
        runs, requests = self._to_do()
        share = self._share()
        parts = [f"{self.runs_done:,} of {runs:,} runs"]
        if requests > 0:
            speed = self.requests_done / elapsed_s if elapsed_s > 0 else 0.0
            parts.append(f"{quantity(self.requests_done)} of {quantity(requests)} requests, {quantity(speed)}/s")
        if self.runs_skipped:
            parts.append(f"{self.runs_skipped:,} already complete")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        left_s = self._left_s(share, elapsed_s)
        parts.append(duration(elapsed_s) if left_s is None else f"{duration(left_s)} left")
        return f"{min(share, 1):4.0%}  " + "; ".join(parts)

    def _to_do(self) -> tuple[int, float]:
        return self.runs - self.runs_skipped, self.requests - self.requests_skipped

    def _share(self) -> float:
        runs, requests = self._to_do()
        return self.requests_done / requests if requests > 0 else self.runs_done / max(runs, 1)

    def _left_s(self, share: float, elapsed_s: float) -> float | None:
        """The remaining time, from the speed since the first completed work, since compiling and training would count
        as slow work; None while it is unknown.
        """
        if not 0 < share < 1:
            return None
        since_s, since = elapsed_s - self._lead_s, share - self._lead_share
        if since > 0 and (since >= TOLD_SHARE or since_s >= self._lead_s):
            return max(since_s, 0.0) * (1 - share) / since
        return elapsed_s * (1 - share) / share if share >= TOLD_SHARE else None


def quantity(value: float) -> str:
    """A count in thousands, millions, billions or trillions, with three digits."""
    for unit, size in ((" trillion", 1e12), (" billion", 1e9), (" million", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 6000 else f"{minutes / 1440:.1f} days"
