"""Policies of publications on cases worked out by hand (uncompiled_related.py): as Python, for each compiled kernel
would take ten seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_policies_do_what_their_publications_say() -> None:
    script = Path(__file__).with_name("uncompiled_related.py")
    environment = os.environ | {
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    played = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 0, played.stderr[-3000:]
