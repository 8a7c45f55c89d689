"""Run a sweep: missing runs are simulated, finished runs are kept, whatever happens."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from caps_fast.errors import InputError, naming
from caps_fast.inputs import expect_inputs
from caps_fast.progress import Progress
from caps_fast.scenario import Scenario, file_hash
from caps_fast.sweep.fanout import Workers, WorkersLost, ended_by_sigterm
from caps_fast.sweep.plan import GROUP, Plan
from caps_fast.sweep.rows import code_hash
from caps_fast.sweep.store import KEY, Store
from caps_fast.sweep.work import Failure, Outcome

BATCH_S = 10.0  # finished runs are written at least this often ...
BATCH_SHARE = (
    0.02  # ... or, in long sweeps, after this share of the time so far: a kill loses little, and there are few files
)
STORES = ("s3", "gs", "az", "abfs", "abfss", "hf", "file")  # what Polars writes to
REVIVALS = 5  # times that dead worker processes are replaced
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Swept:
    """A sweep's outcome: all runs in the plan's order, and those that failed."""

    runs: pl.DataFrame
    failures: list[Failure]


def sweep(
    plan: Plan,
    out: str | Path,
    workers: Workers | None = None,
    *,
    retry_failed: bool = False,
    fresh: bool = False,
    batch_s: float = BATCH_S,
) -> Swept:
    """Run what `out` does not hold yet, and write `runs.parquet` there in the plan's order, bit for bit the same
    whatever the interruptions.

    `out` is a folder, or an object store's URL (the folder with the work in progress is then `results/remote/...`).
    Runs that failed before are left out unless `retry_failed`; `fresh` discards what the folder holds. Raises
    InputError before anything is written if the plan is invalid, and with all finished work kept if the folder cannot
    be written any more.
    """
    inputs = {path: file_hash(path) for config in check(plan) for path in config.input_files}
    store = Store(local_folder(out))
    try:
        store.open(plan.describe(), inputs, fresh)
        with ended_by_sigterm():
            swept = _Drive(plan, store, workers or Workers(), retry_failed, batch_s).run()
        if "://" in str(out):
            _copy(swept.runs, str(out))
        return swept
    finally:
        store.close()


def check(plan: Plan) -> list[Scenario]:
    """Check the plan's axes and what its scenarios name; returns the checked scenarios. Raises InputError."""
    with naming(plan.origin):
        tried = plan.check()
        expect_inputs(tried)
    return tried


def local_folder(out: str | Path) -> Path:
    """Where a sweep keeps its state: `out` itself unless it is a URL."""
    if not str(out):
        raise InputError("out '': expected a folder")
    scheme, separator, rest = str(out).partition("://")
    places = rest.strip("/").split("/")
    if separator and (scheme not in STORES or not {"", ".", ".."}.isdisjoint(places)):
        raise InputError(
            f"out {str(out)!r}: expected a folder, or a bucket and a path after one of "
            f"{', '.join(f'{name}://' for name in STORES)}"
        )
    return Path("results", "remote", scheme, *places) if separator else Path(out)


def _copy(runs: pl.DataFrame, url: str) -> None:
    target = f"{url.rstrip('/')}/runs.parquet"
    try:
        runs.write_parquet(target, compression="zstd", mkdir=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{target}: cannot be written ({line}); the results are in {local_folder(url)}") from None


class _Drive:
    """A sweep in progress.

    `_units` may run in threads of joblib, one at a time, everything else in the main thread.
    """

    def __init__(self, plan: Plan, store: Store, workers: Workers, retry_failed: bool, batch_s: float) -> None:
        self.plan, self.store, self.workers, self.batch_s = plan, store, workers, batch_s
        self.size = max(min(GROUP, len(plan) // (4 * workers.count)), 1)
        self.done: set[str] = set(store.finished()[KEY])
        self.failed = {} if retry_failed else {one.scenario_hash: one for one in store.failures() if one.scenario_hash}
        self.impossible: list[Failure] = []
        self.order: dict[str, tuple[int, dict[str, str]]] = {}
        self.pending: dict[str, float] = {}
        self.rows: list[dict[str, Any]] = []
        self.start_s = self.flushed_s = time.monotonic()

    def run(self) -> Swept:
        try:
            for revival in range(REVIVALS + 1):
                try:
                    self._work()
                    break
                except WorkersLost as error:
                    if revival == REVIVALS:
                        raise InputError(
                            f"worker processes keep dying ({error}); finished runs are kept, and the sweep can be "
                            "resumed later"
                        ) from None
                    logger.warning("a worker process died; its runs are started again")
        finally:
            self._flush()
        failures = [*self.impossible, *(one for key, one in self.failed.items() if key in self.order)]
        self.store.set_failures(failures)
        if failures and self.done.isdisjoint(self.order):
            raise InputError(
                f"{self.plan.name}: all {len(failures):,} runs failed; the first: {failures[0].run}: "
                f"{failures[0].error}"
            )
        places = sorted(self.order.items(), key=lambda item: item[1][0])
        return Swept(
            self.store.complete(
                pl.DataFrame([names | {KEY: key} for key, (_, names) in places], infer_schema_length=None)
            ),
            failures,
        )

    def _work(self) -> None:
        self.order, self.impossible = {}, []
        self.progress = Progress(len(self.plan), self.plan.requests())
        outcomes = self.workers.map(self._units(), code_hash(), self.plan.by_pool)
        try:
            for outcome in outcomes:
                self._take(outcome)
                now_s = time.monotonic()
                if now_s - self.flushed_s >= max(self.batch_s, BATCH_SHARE * (now_s - self.start_s)):
                    self._flush()
                    self.flushed_s = now_s
        finally:
            self.progress.close()
            outcomes.close()

    def _take(self, outcome: Outcome) -> None:
        ended = [row[KEY] for row in outcome.rows]
        self.rows += outcome.rows
        self.done.update(ended)
        for failure in outcome.failures:
            ended.append(failure.scenario_hash)
            self.failed[failure.scenario_hash] = failure
        self.progress.add(len(ended), sum(self.pending.pop(key) for key in ended), len(outcome.failures))

    def _units(self) -> Iterator[list[Scenario]]:
        """Scenarios that are yet to run, those with the same requests together; stores every run's position in the
        results.
        """
        for grid, first, indices in self.plan.groups(self.size):
            unit = []
            for index in indices:
                requests = self.plan.expected_requests(grid, index)
                try:
                    config = self.plan.scenario(grid, index)
                except InputError as error:
                    self.impossible.append(Failure("", str(grid.changes(index)), str(error)))
                    self.progress.skip(requests)
                    continue
                known = config.hash in self.order
                if not known:
                    self.order[config.hash] = (
                        first + index,
                        ({"group": grid.name} if grid.name else {}) | grid.labels(index),
                    )
                if known or config.hash in self.done or config.hash in self.failed:
                    self.progress.skip(requests)
                else:
                    self.pending[config.hash] = requests
                    unit.append(config)
            if unit:
                yield unit

    def _flush(self) -> None:
        """Write finished runs to disk."""
        if self.rows:
            self.store.add(self.rows)
            self.rows = []
        if self.failed:
            self.store.set_failures([*self.impossible, *list(self.failed.values())])
