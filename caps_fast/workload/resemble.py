"""A workload file that resembles a request trace, and a comparison of the two: rates, gaps and lengths."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtri
from scipy.stats import rankdata

from caps_fast import scenario
from caps_fast.demand import Demand, RateTable
from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.sections import TIERS
from caps_fast.traces import TraceFile
from caps_fast.traces.describe import rate_over_time
from caps_fast.workload import workload_of
from caps_fast.workload.clients import table_of_lengths
from caps_fast.workload.intensity import Rate, next_midnight_s
from caps_fast.workload.shapes import hourly, shape_of

FEWEST = 100  # fewest requests, of a trace and of each of its tiers
PER_BIN = 10  # least mean number of requests per step of a profile, against noise
TOGETHER = 0.05  # share of zero gaps from which arrivals are batches
DAY_FROM_S = 23 * 3600.0  # a shorter trace gives its own rate over time, not hours of the day
SHARES = np.concatenate([np.arange(100) / 100, [0.992, 0.995, 0.998, 0.999, 0.9995, 1.0]])
MOST_CORRELATION = 0.9
DIGITS = 5
COUNTS_S = (10.0, 60.0)
SHOWN_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BLOCK = 65_536
KEPT_FIELDS = ("arrival_s", "input_tokens", "output_tokens", "tier")


def workload_file(trace: TraceFile) -> str:
    """The workload file (TOML) that resembles a trace: a client group per tier if the trace has tiers, else one.

    Raises InputError for a trace with too few requests or without times.
    """
    span_s = float(_arrivals_s(trace)[-1])
    groups = _groups(trace)
    tables = {name: _table(trace, rows["arrival_s"].to_numpy(), span_s) for name, rows in groups.items()}
    levels = {name: len(rows) / _rate(trace, 1.0, tables[name]).expected(0.0, span_s) for name, rows in groups.items()}
    total_rps = sum(levels.values())
    lines = [
        f"# A workload that resembles {trace.path}: {len(trace.frame):,} requests over {span_s / 3600:.4g} h.",
        f"rate_rps = {total_rps!r}",
    ]
    for name, rows in groups.items():
        lines += ["", "[[clients]]", f"name = {json.dumps(name)}", f"share = {levels[name] / total_rps!r}"]
        lines += [f"tier = {json.dumps(name)}"] if name in TIERS else []
        lines += _arrival_lines(trace, rows["arrival_s"].to_numpy(), tables[name])
        for column in ("input_tokens", "output_tokens"):
            pairs = table_of_lengths(rows[column].to_numpy(), SHARES)
            written = ", ".join(f"[{_number(share)}, {_number(tokens)}]" for share, tokens in pairs)
            lines.append(f"{column} = {{ quantiles = [{written}] }}")
        lines.append(f"length_correlation = {_number(_correlation(rows))}")
    return "\n".join(lines) + "\n"


def _rate(trace: TraceFile, mean_rps: float, table: RateTable | None) -> Rate:
    """A table's rate on the trace's clock."""
    start = trace.starts_at
    return Rate(mean_rps, shape_of(Demand(), table, start.replace(tzinfo=start.tzinfo or UTC) if start else None))


def _arrivals_s(trace: TraceFile) -> Array:
    if not trace.timed:
        raise InputError(f"{trace.path}: has no arrival times: expected a trace with times for --profile")
    arrivals_s: Array = trace.frame["arrival_s"].to_numpy()
    if len(arrivals_s) < FEWEST or arrivals_s[-1] <= 0:
        told = f"{len(arrivals_s):,} requests over {arrivals_s[-1]:g} s"
        raise InputError(f"{trace.path}: {told}: expected at least {FEWEST} at different times")
    return arrivals_s


def _groups(trace: TraceFile) -> dict[str, pl.DataFrame]:
    """The trace's requests by tier, if it has tiers. Raises InputError for tiers with few requests."""
    if "tier" not in trace.frame.columns:
        return {"all": trace.frame}
    found = {tier: rows for tier in TIERS if len(rows := trace.frame.filter(pl.col("tier") == tier))}
    for tier, rows in found.items():
        if len(rows) < FEWEST or rows["arrival_s"][-1] == rows["arrival_s"][0]:
            told = f"{len(rows):,} requests of tier {tier}"
            raise InputError(f"{trace.path}: {told}: expected at least {FEWEST} at different times")
    return found


def _arrival_lines(trace: TraceFile, arrivals_s: Array, table: RateTable | None) -> list[str]:
    """Fields of the demand: the rate over time, batches, and the gaps' variation about that rate."""
    distinct_s = np.unique(arrivals_s)
    batch = len(arrivals_s) / len(distinct_s) if float((np.diff(arrivals_s) == 0).mean()) >= TOGETHER else 1.0
    lines = []
    if table is not None:
        factors = ", ".join(_number(factor) for factor in table.factors)
        lines.append(f'rate_table = {{ step_s = {table.step_s!r}, begins = "{table.begins}", factors = [{factors}] }}')
    lines.append(f"gap_cv = {_number(gap_cv(distinct_s if batch > 1 else arrivals_s, table, trace))}")
    return [*lines, f"batch_size = {_number(batch)}"] if batch > 1 else lines


def _table(trace: TraceFile, arrivals_s: Array, span_s: float) -> RateTable | None:
    """The rate by hour of the week or the day, by bins of a shorter trace; None if there are too few requests."""
    if span_s >= DAY_FROM_S:
        table = hourly(arrivals_s, span_s, trace.starts_at, None, trace.path)
    else:
        _, rates, width_s = rate_over_time(arrivals_s)
        table = RateTable(step_s=width_s, factors=tuple(rates / rates.mean()), begins="start")
    return table if len(arrivals_s) >= PER_BIN * len(table.factors) else None


def gap_cv(arrivals_s: Array, table: RateTable | None, trace: TraceFile) -> float:
    """Coefficient of variation of the gaps in operational time, without the effect of the rate over time."""
    rate = _rate(trace, 1.0, table)
    edges_s, upto, at_s = [np.zeros(1)], [np.zeros(1)], 0.0
    while at_s <= arrivals_s[-1]:
        day_s, rates = rate.pieces(at_s, next_midnight_s(at_s))
        edges_s.append(day_s[1:])
        upto.append(upto[-1][-1] + np.cumsum(rates * np.diff(day_s)))
        at_s = next_midnight_s(at_s)
    gaps = np.diff(np.interp(arrivals_s, np.concatenate(edges_s), np.concatenate(upto)))
    return float(gaps.std() / gaps.mean())


def _correlation(frame: pl.DataFrame) -> float:
    """Correlation of input and output lengths, as normal scores."""
    scores = [ndtri(rankdata(frame[name].to_numpy()) / (len(frame) + 1)) for name in ("input_tokens", "output_tokens")]
    if min(score.std() for score in scores) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(*scores)[0, 1], -MOST_CORRELATION, MOST_CORRELATION))


def _number(value: float) -> str:
    return repr(float(f"{value:.{DIGITS}g}"))


def regenerated(path: str, trace: TraceFile, seed: int = 0) -> pl.DataFrame:
    """Requests of the workload file at `path` over the trace's span, with the columns of a trace. Raises InputError for
    a bad file.
    """
    changes: dict[str, Any] = {
        "workload.file": path,
        "days": _arrivals_s(trace)[-1] / 86400.0,
        "seed": seed,
        "predictor.source": "declared",
    }
    if trace.starts_at is not None:
        changes["start"] = trace.starts_at.isoformat()
    changes["workload.max_output_tokens"] = int(trace.frame["output_tokens"].max())  # type: ignore[arg-type]
    blocks = workload_of(scenario.preset("paper").replace(changes)).blocks(BLOCK)
    parts = [{name: block[name].copy() for name in KEPT_FIELDS} for block in blocks]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in KEPT_FIELDS}
    return pl.DataFrame(columns | {"tier": np.array(TIERS)[columns["tier"]]})


def likeness(trace: TraceFile, again: pl.DataFrame) -> dict[str, list[Any]]:
    """The comparison, by name: values of the original and of the regenerated trace."""
    both = [_facts(trace.frame, trace), _facts(again, trace)]
    return {name: [facts.get(name) for facts in both] for name in both[0]}


def _facts(frame: pl.DataFrame, trace: TraceFile) -> dict[str, float]:
    arrivals_s = frame["arrival_s"].to_numpy()
    gaps_s, span_s = np.diff(arrivals_s), float(trace.frame["arrival_s"][-1])
    facts = {
        "requests": float(len(frame)),
        "mean_rps": len(frame) / span_s,
        "gap_cv": float(gaps_s.std() / gaps_s.mean()),
    }
    for width_s in COUNTS_S:
        bins = int(span_s // width_s)
        counts = np.bincount((arrivals_s // width_s).astype(np.int64), minlength=bins)[:bins]
        if len(counts) > 2 and counts.std() > 0:
            facts[f"dispersion_{width_s:g}_s"] = float(counts.var() / counts.mean())
            facts[f"autocorrelation_{width_s:g}_s"] = float(np.corrcoef(counts[:-1], counts[1:])[0, 1])
    facts |= _by_hour(arrivals_s, trace, span_s)
    for name in ("input_tokens", "output_tokens"):
        tokens = frame[name].to_numpy()
        facts[f"{name}_mean"] = float(tokens.mean())
        facts |= {f"{name}_p{round(100 * share)}": float(np.quantile(tokens, share)) for share in SHOWN_QUANTILES}
    facts["length_correlation"] = _correlation(frame)
    if "tier" in trace.frame.columns:
        facts |= {f"share_{tier}": float((frame["tier"] == tier).sum() / len(frame)) for tier in TIERS}
    return facts


def _by_hour(arrivals_s: Array, trace: TraceFile, span_s: float) -> dict[str, float]:
    """Mean rate by hour of the day (UTC where the trace has dates), or by tenth of the span of a trace shorter than a
    day.
    """
    if span_s < DAY_FROM_S:
        counts = np.bincount(np.minimum((arrivals_s / span_s * 10).astype(np.int64), 9), minlength=10)
        return {f"rps_tenth_{tenth + 1}": float(count / span_s * 10) for tenth, count in enumerate(counts)}
    first_s = 0.0
    if trace.starts_at is not None:
        at = trace.starts_at.astimezone(UTC) if trace.starts_at.tzinfo else trace.starts_at
        first_s = at.hour * 3600.0 + at.minute * 60 + at.second
    edges_s = np.clip(np.arange(int((first_s + span_s) // 3600) + 2) * 3600.0, first_s, first_s + span_s)
    bins = np.arange(len(edges_s) - 1) % 24
    covered_s = np.bincount(bins, np.diff(edges_s), 24)
    counts = np.bincount((((first_s + arrivals_s) % 86400) // 3600).astype(np.int64), minlength=24)
    return {f"rps_at_{hour:02d}h": float(counts[hour] / covered_s[hour]) for hour in range(24) if covered_s[hour] > 0}
