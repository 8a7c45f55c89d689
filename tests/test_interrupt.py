"""Ctrl-C at any moment of a cold start: exit code 130, no traceback, and nothing that a later run would not survive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from caps_fast import interrupt

COLD_RUN = (
    sys.executable,
    "-c",
    "from caps_fast.cli import main; print('ready', flush=True); main()",
    "run",
    "--days",
    "0.001",
    "--policies",
    "edf",
)


@pytest.mark.parametrize("after_s", [0.5, 1.5, 3.0])
def test_while_compiling(tmp_path: Path, after_s: float) -> None:
    process = subprocess.Popen(
        COLD_RUN,
        env={**os.environ, "CAPS_FAST_CACHE": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in said


def test_within_llvm_the_signal_comes_again_later() -> None:
    """A callback of LLVM's would swallow what is raised in it."""
    before = signal.signal(signal.SIGINT, interrupt.raising(KeyboardInterrupt))
    within: dict[str, Any] = {"__name__": "llvmlite.binding"}
    exec("def wait(until_s, sleep, now):\n    while now() < until_s:\n        sleep(0.005)\n", within)
    seen = []

    def work() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        within["wait"](time.monotonic() + 0.2, time.sleep, time.monotonic)
        seen.append("the end of LLVM's work")
        time.sleep(5)

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["the end of LLVM's work"]
