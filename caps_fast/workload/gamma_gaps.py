"""Gamma gaps by inversion: from uniforms through a table of the quantile function.

The logarithm of the quantile is interpolated by cubics in cells that are a hundredth of their distance from 0, or from
1, wide; so gaps are accurate to 1e-9 for coefficients of variation up to 5 (1e-7 at 50), and several times faster than
by rejection.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import gammainccinv, gammaincinv, gammaln

from caps_fast._jit import compiled
from caps_fast.records import Array

OCTAVES, CELLS = 54, 128  # octaves down from 1/2, and cells in each
TINY = 1e-200  # quantiles below it follow from the power law at 0
BELOW_HALF = math.nextafter(0.5, 0.0)
DIGITS = 2**45 - 1  # of a double's 52, those after the first 7
KEPT = 16


def gamma_gaps(uniforms: Array, cv: float) -> Array:
    """Gaps of mean 1 with a coefficient of variation above 0, in place of uniforms in 0..1: float64 (n,)."""
    _log_quantiles(uniforms, uniforms.view(np.int64), _table(cv))
    return np.exp(uniforms, out=uniforms)


@lru_cache(KEPT)
def _table(cv: float) -> Array:
    """Cubics of the log quantile of Gamma with shape 1 / cv^2 and mean 1, from below and from above: float64 (2 *
    OCTAVES * CELLS, 4).
    """
    shape = cv**-2
    width = 2.0 ** -(np.arange(OCTAVES) + 1.0) / 2
    edges = width[:, None] * (1 + np.arange(CELLS + 1) / CELLS)  # distances from 0 or 1, in (0, 1/2]
    sides = []
    for quantile, sign in ((gammaincinv, 1.0), (gammainccinv, -1.0)):
        found = quantile(shape, edges)
        small = ((np.log(edges) if sign > 0 else np.log1p(-edges)) + gammaln(shape + 1)) / shape  # the power law at 0
        logs = np.where(found > TINY, np.log(np.maximum(found, TINY)), small)
        density = shape * logs - np.exp(logs) - gammaln(shape)  # log of quantile times density
        slopes = sign * np.exp(-density) * (width / CELLS)[:, None]
        low, high, rise, end = (
            logs[:, :-1] + 2 * math.log(cv),
            logs[:, 1:] + 2 * math.log(cv),
            slopes[:, :-1],
            slopes[:, 1:],
        )
        sides.append(np.stack([low, rise, 3 * (high - low) - 2 * rise - end, 2 * (low - high) + rise + end], axis=-1))
    return np.concatenate([side.reshape(-1, 4) for side in sides])


@compiled
def _log_quantiles(values: Array, bits: Array, table: Array) -> None:
    """Turn uniforms into log quantiles, in place; `bits` are those of `values`, whose exponent and first 7 binary
    digits determine the cell.
    """
    for i in range(values.shape[0]):
        p = values[i]
        above = p >= 0.5
        values[i] = min(max(1.0 - p if above else p, 2.0**-54), BELOW_HALF)
        octave = 1021 - (bits[i] >> 52)
        cell = (OCTAVES if above else 0) + octave
        x = (bits[i] & DIGITS) * (1.0 / (DIGITS + 1))
        c = table[cell * CELLS + ((bits[i] >> 45) & (CELLS - 1))]
        values[i] = c[0] + x * (c[1] + x * (c[2] + x * c[3]))
