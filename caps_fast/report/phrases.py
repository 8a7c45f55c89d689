"""Numbers in sentences: amounts, shares, differences with their intervals, lists of names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """A policy's value less the baseline's, over paired seeds; `low` and `high` are nan for one pair.

    better      whether a larger value is better
    scale       divisor of a difference for printing: 0.01 for points, the baseline's mean for per cent of it
    """

    mean: float
    low: float
    high: float
    pairs: int
    larger_is_better: bool
    scale: float
    unit: str

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `not significant`, `equal`, or `one seed`."""
        if math.isnan(self.low):
            return "one seed"
        if not self.is_significant:
            return "equal" if self.mean == 0 else "not significant"
        return "better" if (self.mean > 0) == self.larger_is_better else "worse"

    @property
    def text(self) -> str:
        """As `-36.1 % (-37.0 to -35.2)`."""
        values = [f"{value / self.scale:+.1f}" for value in (self.mean, self.low, self.high)]
        interval = "" if math.isnan(self.low) else f" ({values[1]} to {values[2]})"
        return f"{values[0]} {self.unit}{interval}"

    def sentence(self, baseline: str) -> str:
        """As `36.1 % less than Round Robin's (95 % interval 35.2 to 37.0 % less, 5 paired seeds: significant)`."""
        word = "less" if self.mean < 0 else "more"
        size = f"{abs(self.mean) / self.scale:.1f}"
        said = f"{size} {self.unit} {word} than {baseline}'s" if self.mean else f"equal to {baseline}'s"
        if math.isnan(self.low):
            return f"{said} (one seed: no interval, so it may be chance)"
        low, high = (f"{value / self.scale:+.1f}" for value in (self.low, self.high))
        judged = "significant" if self.is_significant else "not significant"
        return f"{said} (95 % interval {low} to {high} {self.unit}, {self.pairs} paired seeds: {judged})"


def amount(value: float) -> str:
    """A number with three digits, or a whole one with separators."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def share(value: float) -> str:
    """A share in per cent; none has no `-0`."""
    return f"{100 * value:.1f} %" if not math.isnan(value) else "-"


def listed(names: Sequence[str], most: int = 8) -> str:
    """`a, b and c`; the first `most` of them."""
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
