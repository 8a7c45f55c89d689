"""`python -m benchmarks`: measure, tell, and compare with the stored ratios.

Exit code 1 if a ratio has become worse by more than the margin.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from . import outcome as outcomes
from . import page, picture
from .profile import profile

ROOT = Path(__file__).parent.parent
STORED = Path(__file__).parent / "stored.json"
DOCS = ROOT / "docs"
OUT = Path("results", "benchmarks")
SLOW = ("test_loading.py", "test_predictor.py")  # left out of a quick run


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="small sizes, few rounds: rough ratios in two minutes")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="store the ratios, and of a full run the page and picture in docs/")
    ] = False,
    margin: Annotated[
        float, typer.Option(min=0.0, help="how much worse than stored a ratio may be, as a share")
    ] = outcomes.MARGIN,
    only: Annotated[str, typer.Option(help="benchmarks to run, as for pytest -k; nothing is stored")] = "",
) -> None:
    """Benchmarks of caps-fast, beside other simulators, as ratios within one run."""
    if update and only:
        raise typer.BadParameter("expected a whole run to store, not --only", param_hint="--update")
    mode = "quick" if quick else "full"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        failed = _run_pytest(report, quick, only)
        if not report.exists():
            sys.exit(failed or 1)
        found = outcomes.read(report)
    profiled = None if only else profile(*((0.1, 2) if quick else (1.0, 3)))
    stored = outcomes.stored_ratios(STORED, mode)
    measured = page.tables(found, stored, profiled, mode)
    print(measured)
    worse = outcomes.regressions(found.ratios, stored, margin)
    _write(found, measured, DOCS if update and not quick and not failed else OUT)
    if update and not failed:
        outcomes.store(STORED, mode, found)
        print(f"stored {len(found.ratios)} ratios", file=sys.stderr)
        return
    for line in worse:
        print(f"worse: {line}", file=sys.stderr)
    if not stored and not only:
        print(f"no ratios of a {mode} run are stored to compare with; --update stores these", file=sys.stderr)
    sys.exit(1 if failed or worse else 0)


def _run_pytest(report: Path, quick: bool, only: str) -> int:
    options = [
        "-q",
        "-p",
        "no:xdist",
        "--timeout=1200",
        "--benchmark-timer=time.process_time",
        "--benchmark-columns=min,median,rounds",
        f"--benchmark-json={report}",
    ]
    command = [sys.executable, "-m", "pytest", "benchmarks", *options]
    if quick:
        command += ["--quick", *(f"--ignore=benchmarks/{name}" for name in SLOW)]
    if only:
        command += ["-k", only]
    return subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr).returncode


def _write(found: outcomes.Outcome, measured: str, folder: Path) -> None:
    """The page and its picture: into docs/, or, where nothing is to be stored, beside other results."""
    folder.mkdir(parents=True, exist_ok=True)
    prose = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    (folder / "benchmarks.md").write_text(page.put(prose, measured), encoding="utf-8")
    picture.draw(found, folder / "benchmarks.png")
    print(f"wrote {folder / 'benchmarks.md'} and {folder / 'benchmarks.png'}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
