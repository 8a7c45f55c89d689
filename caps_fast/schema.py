"""The tables of metrics in docs/schema.md: `python -m caps_fast.schema docs/schema.md` updates them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from caps_fast.errors import InputError
from caps_fast.metrics import METRICS, POOL, POOL_METRICS, SHARE, Metric

HEAD = "| column | type | unit | better | |\n|---|---|---|---|---|\n"


def table(metrics: Iterable[Metric[Any]], prefix: str = "") -> str:
    """Metrics as a Markdown table, one row each."""
    rows = []
    for metric in metrics:
        unit = "" if metric.unit == SHARE else metric.unit
        cells = (f"`{prefix}{metric.name}`", metric.kind.__name__, unit, metric.better or "", metric.about)
        rows.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(rows)


def with_tables(page: str) -> str:
    """The page with the tables between its marks (`<!-- metrics -->` ... `<!-- end -->`) updated. Raises InputError."""
    for mark, text in (("metrics", table(METRICS.values())), ("by pool", table(POOL_METRICS.values(), f"{POOL}NAME."))):
        before, begin, rest = page.partition(f"<!-- {mark} -->\n")
        _, end, after = rest.partition("<!-- end -->\n")
        if not begin or not end:
            raise InputError(f"no table between <!-- {mark} --> and <!-- end -->: expected docs/schema.md")
        page = before + begin + text + end + after
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
