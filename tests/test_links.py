"""A folder may come from others: its links are not followed, and nothing outside is written, nor deleted."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from caps_fast.errors import InputError
from caps_fast.files import whole
from caps_fast.report.write import write_report
from caps_fast.sweep import read, sweep
from caps_fast.sweep.journal import held
from tiny_sweeps import SERIAL, plan_of

MINE = b"mine"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "mine.parquet").write_bytes(MINE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    path.mkdir()
    return path


def expect_untouched(outside: Path) -> None:
    assert [path.name for path in outside.iterdir()] == ["mine.parquet"]
    assert (outside / "mine.parquet").read_bytes() == MINE


@pytest.mark.parametrize("name", ["parts", "spare"])
@pytest.mark.parametrize("fresh", [False, True])
def test_linked_folders_of_a_sweep_are_refused(folder: Path, outside: Path, name: str, fresh: bool) -> None:
    (folder / name).symlink_to(outside)
    with pytest.raises(InputError, match=f"{name}: a link to .*outside; expected a folder"):
        sweep(plan_of("4", seeds=1), folder, SERIAL, fresh=fresh)
    expect_untouched(outside)


@pytest.mark.parametrize("target", ["mine.parquet", "not there"])
def test_a_linked_lock_is_refused(folder: Path, outside: Path, target: str) -> None:
    (folder / ".lock").symlink_to(outside / target)
    with pytest.raises(InputError, match=r"\.lock: a link"):
        sweep(plan_of("4", seeds=1), folder, SERIAL)
    expect_untouched(outside)


def test_a_lock_that_is_another_s_file_is_refused(folder: Path, outside: Path) -> None:
    os.link(outside / "mine.parquet", folder / ".lock")
    with pytest.raises(InputError, match=r"\.lock: not a regular file of its own"):
        sweep(plan_of("4", seeds=1), folder, SERIAL)
    expect_untouched(outside)


@pytest.mark.parametrize("name", ["runs.parquet", "manifest.json", "failures.json"])
def test_links_in_place_of_a_sweep_s_files_are_replaced(folder: Path, outside: Path, name: str) -> None:
    (folder / f"{name}.tmp").symlink_to(outside / "mine.parquet")
    sweep(plan_of("4", seeds=1), folder, SERIAL)
    (folder / "runs.parquet").rename(outside / "runs.parquet")
    (folder / "runs.parquet").symlink_to(outside / "runs.parquet")
    before = (outside / "runs.parquet").read_bytes()
    sweep(plan_of("4", seeds=2), folder, SERIAL)
    assert (outside / "runs.parquet").read_bytes() == before
    (outside / "runs.parquet").unlink()
    expect_untouched(outside)
    assert read(folder).height == 4


@pytest.mark.parametrize("target", ["mine.parquet", "not there"])
def test_a_linked_study_is_refused(folder: Path, outside: Path, target: str) -> None:
    for name, log in (("study.log", "study.log"), ("study.log.lock", "study.log")):
        (folder / name).symlink_to(outside / target)
        with pytest.raises(InputError, match="a link to"), held(folder / log):
            pass
        (folder / name).unlink()
    expect_untouched(outside)


@pytest.mark.parametrize("target", ["mine.parquet", "not there"])
def test_a_report_does_not_write_through_links(folder: Path, outside: Path, target: str) -> None:
    sweep(plan_of("4", seeds=1), folder, SERIAL)
    written = [path.name for path in write_report(folder)]
    (folder / "report" / ".probe").symlink_to(outside / target)
    for name in written:
        (folder / "report" / name).unlink()
        (folder / "report" / name).symlink_to(outside / target)
    write_report(folder)
    expect_untouched(outside)
    assert not any((folder / "report" / name).is_symlink() for name in written)


def test_a_linked_report_is_refused(folder: Path, outside: Path) -> None:
    sweep(plan_of("4", seeds=1), folder, SERIAL)
    (folder / "report").symlink_to(outside)
    with pytest.raises(InputError, match="report: a link to"):
        write_report(folder)
    expect_untouched(outside)


def test_no_link_waits_where_a_file_is_begun(folder: Path, outside: Path) -> None:
    target = folder / "x.parquet"
    (folder / f".x.parquet.{os.getpid()}.part").symlink_to(outside / "mine.parquet")
    with whole(target) as beside:
        pl.DataFrame({"a": [1]}).write_parquet(os.fspath(beside))
    expect_untouched(outside)
    assert pl.read_parquet(target).height == 1


def test_what_a_killed_process_began_goes_with_the_next(folder: Path) -> None:
    dead = folder / ".x.999999999.abcd.part"
    alive = folder / f".x.{os.getppid()}.abcd.part"
    for path in (dead, alive):
        path.touch()
    with whole(folder / "x") as beside:
        beside.touch()
    assert sorted(path.name for path in folder.iterdir()) == sorted([alive.name, "x"])
