"""A sweep's folder: finished runs in atomically written Parquet files, one process at a time.

    manifest.json      the sweep: program, resolved scenarios, axes, input files' hashes
    parts/*.parquet    finished runs, one file per batch, in the order of completion
    runs.parquet       all runs of the finished sweep, in the plan's order
    failures.json      runs that ended with an error
    spare/*.parquet    finished runs that the plan no longer has

Files are written to a temporary name, synced, and renamed, so that a kill at any moment leaves complete files only.
Results carry a digest: damaged ones are computed again. Links in the folder are not followed, since it may come from
others.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from caps_fast import __version__
from caps_fast.documents import read_json
from caps_fast.errors import InputError
from caps_fast.files import expect_no_link
from caps_fast.sealed import read_sealed, sealed
from caps_fast.sweep.disk import write_whole, writing
from caps_fast.sweep.lock import Lock
from caps_fast.sweep.rows import PARAMETERS, code_hash, column_order, content, table
from caps_fast.sweep.work import Failure

KEY = "scenario_hash"
OURS = ("manifest.json", "runs.parquet", "failures.json")
logger = logging.getLogger(__name__)


class Store:
    """The folder, held by this process until `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts, self.spare = folder / "parts", folder / "spare"
        self._lock = Lock(folder / ".lock")

    def open(self, plan: dict[str, Any], inputs: dict[str, str], fresh: bool = False) -> None:
        """Lock the folder for this plan and these input files (hashes by path), creating it if missing; `fresh`
        discards its content.

        Raises InputError if it cannot be written, another process holds it, or another version or sweep filled it.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        for place in (self.parts, self.spare):
            expect_no_link(place, "a folder")
        if not fresh:  # nothing is created in a folder that is not ours; checked again once nobody else can write there
            self._expect_ours(manifest(self.folder), plan)
        with writing(self.folder):
            self.parts.mkdir(exist_ok=True)
            self.spare.mkdir(exist_ok=True)
        self._lock.take(self.folder)
        with writing(self.folder):
            if fresh:
                for path in (*self._files(), *(self.folder / name for name in OURS)):
                    path.unlink(missing_ok=True)
            for path in (
                *(self.folder / f"{name}.tmp" for name in OURS),
                *self.parts.glob("*.tmp"),
                *self.spare.glob("*.tmp"),
            ):
                path.unlink(missing_ok=True)
        before = manifest(self.folder)
        self._expect_ours(before, plan)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        program = {
            "program": "caps-fast",
            "version": __version__,
            "code": code_hash(),
            "created": (before or {}).get("created", now),
        }
        data = json.loads(json.dumps(program | {"inputs": inputs, "plan": plan}, default=str))
        if before != data:
            self.write("manifest.json", json.dumps(data, indent=1).encode())
        if before and before["plan"] != data["plan"]:
            logger.warning(
                "%s: the sweep has changed since; finished runs that it still contains are kept", self.folder
            )

    def close(self) -> None:
        """Release the folder."""
        self._lock.free()

    def finished(self) -> pl.DataFrame:
        """All finished runs, each once, without names of a plan.

        A file that is not ours is put aside, and its runs count as missing.
        """
        frames = []
        for path in self._files():
            try:
                frames.append(_read(path, PARAMETERS, required=True))
            except InputError as error:
                self._put_aside(path, f"{error}; put aside, its runs are computed again")
        return content(_joined(frames))

    def failures(self) -> list[Failure]:
        """Runs that ended with an error. A damaged list is put aside, and its runs count as missing."""
        path = self.folder / "failures.json"
        try:
            found = [Failure(**one) for one in read_json(path)]
            if not all(isinstance(value, str) for one in found for value in vars(one).values()):
                raise TypeError
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, TypeError):
            self._put_aside(path, f"{path}: not a list of failed runs; put aside, its runs are run again")
            return []
        return found

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Store these finished runs."""
        self.write(f"parts/{uuid.uuid4().hex}.parquet", sealed(table(rows)))

    def set_failures(self, failures: Sequence[Failure]) -> None:
        """Store the list of failed runs; an empty one leaves no file."""
        if failures:
            self.write("failures.json", json.dumps([asdict(one) for one in failures], indent=1).encode())
        else:
            with writing(self.folder):
                (self.folder / "failures.json").unlink(missing_ok=True)

    def complete(self, order: pl.DataFrame) -> pl.DataFrame:
        """Write `runs.parquet` with the rows of `order` (a column `scenario_hash`, and names of the plan), in its
        order; remove the parts.

        Finished runs that the plan no longer has are put aside.
        """
        rows = self.finished()
        runs = order.join(rows, on=KEY, how="inner", maintain_order="left").select(
            pl.col(order.columns).exclude(KEY), pl.col(rows.columns)
        )
        others = rows.join(order, on=KEY, how="anti")
        old = [*self.parts.glob("*.parquet"), *self.spare.glob("*.parquet")]
        if others.height:
            self.write(f"spare/{uuid.uuid4().hex}.parquet", sealed(others))
        self.write("runs.parquet", sealed(runs))
        with writing(self.folder):
            for path in old:
                path.unlink()
        return runs

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the folder atomically. Raises InputError."""
        with writing(self.folder):
            write_whole(self.folder / name, content)

    def _files(self) -> list[Path]:
        return [*_data_files(self.folder), *self.spare.glob("*.parquet")]

    def _put_aside(self, path: Path, why: str) -> None:
        logger.warning("%s", why)
        with writing(self.folder):
            path.rename(path.with_suffix(".unreadable"))

    def _expect_ours(self, before: dict[str, Any] | None, plan: dict[str, Any]) -> None:
        way_out = "choose another folder, or discard its content with --fresh"
        if before is None:
            if _data_files(self.folder):
                raise InputError(f"{self.folder}: holds results without a manifest.json; {way_out}")
            return
        if before["version"] != __version__:
            raise InputError(
                f"{self.folder}: holds results of caps-fast {before['version']}, and this is {__version__}; {way_out}"
            )
        if before["code"] != code_hash():
            raise InputError(
                f"{self.folder}: holds results of other code ({before['code']}) of the same version, and this is "
                f"{code_hash()}; {way_out}"
            )
        if before["plan"]["name"] != plan["name"]:
            raise InputError(
                f"{self.folder}: holds the sweep {before['plan']['name']}, and this is {plan['name']}; {way_out}"
            )
        if (held := before["plan"].get("by_pool", False)) != plan["by_pool"]:
            state, wanted = ("with", "--by-pool as before") if held else ("without", "no --by-pool")
            raise InputError(f"{self.folder}: holds results {state} metrics by pool: expected {wanted}; or {way_out}")


def manifest(folder: Path) -> dict[str, Any] | None:
    """The folder's manifest; None if there is none. Raises InputError if it is not ours."""
    path = folder / "manifest.json"
    try:
        data = read_json(path)
        if data["program"] != "caps-fast":
            raise KeyError
        data["version"], data["code"], data["plan"]["name"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: not the manifest of a sweep; expected a folder that caps-fast filled, or a new one"
        ) from None
    return data  # type: ignore[no-any-return]


def read(folder: str | Path) -> pl.DataFrame:
    """All runs of a sweep's folder, finished or interrupted, or of one Parquet file.

    Raises InputError if there are none.
    """
    path = Path(folder)
    files = [path] if path.is_file() else _data_files(path)
    if not files:
        raise InputError(f"{path}: no results; expected the folder of a sweep (--out) or a Parquet file of one")
    return _joined([_read(file, (KEY, "policy", "seed", "rate_rps")) for file in files])


def _read(path: Path, names: Iterable[str], required: bool = False) -> pl.DataFrame:
    """A Parquet file with these parameter columns and, if `required`, its digest. Raises InputError."""
    frame = read_sealed(path, required)
    for name in names:
        if name not in frame.columns:
            raise InputError(f"{path}: no column {name}; expected results of a sweep")
        if frame.schema[name].is_numeric() != PARAMETERS[name].is_numeric():
            raise InputError(
                f"{path}: column {name} is {frame.schema[name]}, not {PARAMETERS[name]()}; expected results of a sweep"
            )
    return frame


def _data_files(folder: Path) -> list[Path]:
    final = folder / "runs.parquet"
    return ([final] if final.is_file() else []) + sorted((folder / "parts").glob("*.parquet"))


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame(schema={KEY: pl.String})
    return (
        pl.concat(frames, how="diagonal_relaxed")
        .select(column_order(frames))
        .unique(KEY, keep="first", maintain_order=True)
    )
