"""Killed, interrupted, out of space, two at once, on a cluster that loses a worker: nothing is lost and nothing
stands twice.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from caps_fast.errors import InputError
from caps_fast.sweep import Grid, Workers, read, sweep
from caps_fast.sweep.axes import axis
from caps_fast.sweep.file import assemble, seed_axis
from tiny_sweeps import SERIAL, TINY, command, content, grid, plan_of


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep(plan_of(), folder, SERIAL)
    return folder


ROUND = """
import sys
from tiny_sweeps import plan_of
from caps_fast.sweep import Workers, sweep
sweep(plan_of(rates="2..16", seeds=4), sys.argv[1], Workers(2), batch_s=0.0)
"""


def kill_while_running(folder: Path, kills: int, seed: int) -> None:
    """Kill -9 at random moments after the start of the work, so many times; then let it finish."""
    chance = random.Random(seed)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", ROUND, str(folder)], cwd=Path(__file__).parent, stderr=subprocess.DEVNULL
        )
        before = set(folder.glob("parts/*"))
        while set(folder.glob("parts/*")) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.wait()
    sweep(plan_of(rates="2..16", seeds=4), folder, Workers(2))


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments_nothing_is_lost_and_nothing_stands_twice(tmp_path: Path, kills: int) -> None:
    calm = sweep(plan_of(rates="2..16", seeds=4), tmp_path / "calm", Workers(2)).runs
    done = 0
    for attempt in range(kills):
        folder = tmp_path / f"killed {attempt}"
        kill_while_running(folder, min(3, kills - done), attempt)
        done += min(3, kills - done)
        assert content(folder) == content(tmp_path / "calm")
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
            ".lock",
            "manifest.json",
            "runs.parquet",
        ]
        if done == kills:
            break
    assert calm["scenario_hash"].is_unique().all()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_at_once_and_goes_on_later(tmp_path: Path, number: int, code: int) -> None:
    long = [
        "--set",
        "predictor.source=declared",
        "--policies",
        "round-robin",
        "--rates",
        "16",
        "--days",
        "30",
        "--jobs",
        "2",
        "--out",
        str(tmp_path),
    ]
    process = subprocess.Popen(command("grid", *long, "--seeds", "4"), stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    start_s = time.monotonic()
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert time.monotonic() - start_s < 10
    assert process.returncode == code, said
    assert "the same command resumes from there" in said
    assert "Traceback" not in said


def test_two_at_once_on_one_folder(undisturbed: Path, tmp_path: Path) -> None:
    first = subprocess.Popen(grid(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    second = subprocess.Popen(grid(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = [process.communicate(timeout=300)[1] for process in (first, second)]
    codes = sorted(process.returncode for process in (first, second))
    assert codes in ([0, 0], [0, 2]), said
    if codes == [0, 2]:
        assert any("another caps-fast (process" in text and text.count("\n") == 1 for text in said)
    assert content(tmp_path) == content(undisturbed)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        sweep(plan_of(), tmp_path / "file", SERIAL)
    with pytest.raises(InputError, match="cannot be written"):
        sweep(plan_of(), tmp_path / "file" / "below", SERIAL)
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs the right to mount a small file system")
def test_a_full_disk_is_told_and_finished_work_is_kept(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with pytest.raises(InputError, match=r"No space left on device.*kept"):
            sweep(plan_of(seeds=8), disk / "out", SERIAL, batch_s=0.0)
        kept = read(disk / "out")
        assert 0 < kept.height < 48
        assert not list((disk / "out").rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_on_a_cluster_a_worker_may_die(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    python = [sys.executable, "-m"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    about = tmp_path / "scheduler.json"
    running = [
        subprocess.Popen(
            [
                *python,
                "distributed.cli.dask_scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
                "--scheduler-file",
                str(about),
            ],
            **quiet,
        )
    ]
    try:
        while not about.exists() or not about.read_text().strip():
            time.sleep(0.05)
        address = json.loads(about.read_text())["address"]
        worker = [
            *python,
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            str(tmp_path),
        ]
        running += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        wide = [
            "--rates",
            "2..16",
            "--policies",
            "round-robin",
            "--seeds",
            "30",
            "--days",
            "0.02",
            "--set",
            "predictor.source=declared",
        ]
        cluster = subprocess.Popen(
            command("grid", *wide, "--out", str(tmp_path / "out"), "--backend", "dask", "--address", address),
            stderr=subprocess.PIPE,
            text=True,
        )
        while not (tmp_path / "out/manifest.json").exists() and cluster.poll() is None:
            time.sleep(0.02)
        time.sleep(3)
        died = cluster.poll() is None
        running[1].kill()
        said = cluster.communicate(timeout=300)[1]
        assert cluster.returncode == 0, said
        assert died, "the sweep was over before a worker could die"
    finally:
        for process in running:
            process.kill()
            process.wait()
    axes = (axis("rate", "2..16", ""), axis("policy", "round-robin", ""), seed_axis(30, ""))
    sweep(assemble("grid", [Grid("", TINY | {"days": 0.02}, axes)]), tmp_path / "here", Workers(2))
    assert content(tmp_path / "out") == content(tmp_path / "here")
