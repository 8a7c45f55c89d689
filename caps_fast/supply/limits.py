"""Limits of the power from the grid: a site's limit, and reductions (demand response) between two times."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.supply.plant import size_kw
from caps_fast.supply.site import HOUR_S, Site
from caps_fast.sweep.values import NUMBER

REDUCTION = re.compile(rf"(.+)@({NUMBER})\.\.({NUMBER})")


def limits_kwh(site: Site, limit: str | None, reductions: Sequence[str] = ()) -> Array:
    """Greatest import in each sample, kWh, float64 (n,); inf without a limit.

    `limit` is a size; each reduction a size and hours from t = 0, as `15kW@26..29`, which applies to the whole of every
    overlapping sample. Raises InputError, also for a reduction outside of the site's time.
    """
    most_kw = np.full(len(site.hours), np.inf if limit is None else size_kw(limit, "--limit"))
    end_h = float(site.edges_s[-1]) / HOUR_S
    for text in reductions:
        size, from_h, to_h = reduction_of(text)
        if from_h >= end_h:
            raise InputError(
                f"--reduce {text!r}: begins after the end at {end_h:g} h; expected hours from t = 0 before it"
            )
        inside = (site.edges_s[:-1] < to_h * HOUR_S) & (site.edges_s[1:] > from_h * HOUR_S)
        most_kw[inside] = np.minimum(most_kw[inside], size)
    return most_kw * site.hours


def reduction_of(text: str) -> tuple[float, float, float]:
    """A limit, kW, and the hours from t = 0 between which it holds. Raises InputError."""
    match = REDUCTION.fullmatch(text.strip())
    if not match or not 0.0 <= float(match[2]) < float(match[3]):
        raise InputError(f"--reduce {text!r}: expected a size and hours from t = 0, as 15kW@26..29")
    return size_kw(match[1], "--reduce"), float(match[2]), float(match[3])
