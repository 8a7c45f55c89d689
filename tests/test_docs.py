"""The documentation: the site builds without a warning, links lead somewhere, lines are short enough to read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from caps_fast import __version__

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
COLUMNS = 120


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as forges and the site make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{name(page)} links to {link}: no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name(page)} links to {link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_at_most_120_columns(page: Path) -> None:
    text = re.sub(
        r"^```console\n.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )  # printed tables
    lines = text.splitlines()
    wide = [line for line in lines if len(line) > COLUMNS and not line.startswith("|")]
    assert not wide, f"{name(page)} has lines of more than {COLUMNS} columns: {wide[0]}"


@pytest.mark.slow
def test_the_readme_s_first_command_prints_what_it_shows(tmp_path: Path) -> None:
    (block,) = re.findall(
        r"```console\n\$ caps-fast (.*?)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    command = [sys.executable, "-c", "from caps_fast.cli import main; main()", *block[0].split()]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == block[1]


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = re.findall(
        r"^\*\*(?:(\d+)\. )?", (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert "" not in numbers, "a decision without a number: expected the next one"
    assert len(set(numbers)) == len(numbers)


def test_changelog_and_citation_name_this_version() -> None:
    released = re.findall(
        r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert released[0] == __version__
    assert re.search(
        rf"^version: {re.escape(__version__)}$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="needs the extra docs")
    strict = [
        "-q",
        "-E",
        "-W",
        "--keep-going",
        "-D",
        "nb_execution_mode=off",
    ]  # tests/test_tutorial.py runs the notebook
    command = [sys.executable, "-m", "sphinx", *strict, "-d", tmp_path / "doctrees", "docs", tmp_path / "html"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Which LLM request" in (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
