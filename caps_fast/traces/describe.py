"""Description of a request trace: span, rate, lengths, shares, gaps and oddities, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caps_fast.traces.reading import TraceFile

CATEGORY_EDGES = {"short": 0, "long": 256, "agentic": 2048}  # input tokens from
BIN_WIDTHS_S = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0)
MOST_BINS = 96
GAP_MEANS = 20.0  # a gap is longer than this many mean distances: 2e-9 of a Poisson process's
MANY = 0.05  # share from which it is an oddity

Numbers = NDArray[Any]


def describe(trace: TraceFile) -> dict[str, Any]:
    """Everything that `inspect` reports, ready for JSON: counts, seconds, tokens, shares of 1.

    Keys: kind, file, format, about times (`span_s`, `starts_at`, `rate`, `gaps`; None for files without times),
    `input_tokens`, `output_tokens` (mean, p50, p95, max), `categories`, `tiers`, `tenants`, `sessions`, `turns`,
    `oddities` (sentences).
    """
    frame = trace.frame
    arrivals = frame["arrival_s"].to_numpy() if trace.timed else None
    inputs, outputs = frame["input_tokens"].to_numpy(), frame["output_tokens"].to_numpy()
    timed = arrivals is not None and arrivals[-1] > 0
    return {
        "kind": "requests",
        "file": trace.path,
        "format": trace.format,
        "requests": len(frame),
        "span_s": None if arrivals is None else float(arrivals[-1]),
        "starts_at": trace.starts_at.isoformat() if trace.starts_at else None,
        "rate": _rate(arrivals) if arrivals is not None and timed else None,
        "gaps": _gaps(arrivals) if arrivals is not None and timed else None,
        "input_tokens": _lengths(inputs),
        "output_tokens": _lengths(outputs),
        "categories": _categories(inputs),
        "tiers": _shares(frame, "tier"),
        "tenants": frame["tenant"].n_unique() if "tenant" in frame.columns else None,
        "sessions": frame["session"].filter(frame["session"] != "").n_unique() if "session" in frame.columns else None,
        "turns": _lengths(frame["turns"].to_numpy()) if "turns" in frame.columns else None,
        "oddities": [
            *trace.notes,
            *(_odd_times(arrivals) if arrivals is not None else ()),
            *_odd_lengths(inputs, outputs),
        ],
    }


def rate_over_time(arrivals: Numbers) -> tuple[Numbers, Numbers, float]:
    """Bin starts (s), mean arrivals per second in each bin, and the bins' width (s): the narrowest width with at
    most `MOST_BINS` bins.

    The last bin's rate is over the part of it that the trace covers, and left out if that is under a tenth.
    """
    span_s = float(arrivals[-1])
    width_s = next((width for width in BIN_WIDTHS_S if span_s / width <= MOST_BINS), span_s / MOST_BINS)
    counts = np.bincount((arrivals // width_s).astype(np.int64))
    covered_s = np.full(len(counts), width_s)
    covered_s[-1] = span_s - width_s * (len(counts) - 1)
    kept = covered_s >= min(width_s / 10, span_s)
    return np.arange(len(counts))[kept] * width_s, counts[kept] / covered_s[kept], width_s


def _rate(arrivals: Numbers) -> dict[str, Any]:
    _, rates, width_s = rate_over_time(arrivals)
    distances = np.diff(arrivals)
    return {
        "mean_rps": (len(arrivals) - 1) / float(arrivals[-1]),
        "lowest_rps": float(rates.min()),
        "highest_rps": float(rates.max()),
        "bin_s": width_s,
        "rps": [float(rate) for rate in rates],
        "cv_of_distances": float(distances.std() / distances.mean()),
    }


def _gaps(arrivals: Numbers) -> dict[str, Any]:
    distances = np.diff(arrivals)
    longest = int(distances.argmax())
    limit_s = GAP_MEANS * float(distances.mean())
    return {
        "longer_than_s": limit_s,
        "count": int((distances > limit_s).sum()),
        "longest_s": float(distances[longest]),
        "longest_at_s": float(arrivals[longest]),
    }


def _lengths(values: Numbers) -> dict[str, float]:
    p50, p95 = np.percentile(values, (50, 95))
    return {"mean": float(values.mean()), "p50": float(p50), "p95": float(p95), "max": float(values.max())}


def _categories(inputs: Numbers) -> dict[str, float]:
    which = np.digitize(inputs, list(CATEGORY_EDGES.values())[1:])
    return {name: float((which == index).mean()) for index, name in enumerate(CATEGORY_EDGES)}


def _shares(frame: pl.DataFrame, column: str) -> dict[str, float] | None:
    if column not in frame.columns:
        return None
    counts = frame[column].value_counts(sort=True)
    return {name: count / len(frame) for name, count in counts.iter_rows()}


def _odd_times(arrivals: Numbers) -> list[str]:
    if len(arrivals) > 1 and arrivals[-1] == 0:
        return ["all requests arrive at the same time"]
    distances = np.diff(arrivals)
    together = float((distances == 0).mean()) if len(distances) else 0.0
    if together < MANY:
        return []
    apart = np.median(distances[distances > 0])
    return [
        f"{together:.0%} of requests come at the same instant as the one before; distinct times are {apart:g} s "
        "apart (median)"
    ]


def _odd_lengths(inputs: Numbers, outputs: Numbers) -> list[str]:
    odd = []
    for name, values in (("input", inputs), ("output", outputs)):
        longest = int(values.max())
        share = float((values == longest).mean())
        if len(values) > 1 and share == 1:
            odd.append(f"every request has {longest:,} {name} tokens")
        elif share >= MANY:
            odd.append(f"{share:.0%} of requests have exactly the longest {name}, {longest:,} tokens: cut off there?")
    return odd
