"""The page of a report as HTML: self-contained, safe for any name, and it works in a browser."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast.report.write import write_report
from report_folders import folder_of, runs_of

HOSTILE = (
    "</script><script id=injected>document.title='injected'</script>\"><img src=x "
    "onerror=\"document.title='injected'\">$\\frac{1}{"
)
BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


class Tags(HTMLParser):
    """What a browser would take for tags."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs))
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def tags_of(path: Path) -> Tags:
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    return tags


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = write_report(folder_of(tmp_path / "paper"))[-1]
    tags = tags_of(page)
    assert all(source.startswith(("data:", "#")) for source in tags.sources)
    assert "default-src 'none'" in page.read_text(encoding="utf-8")
    assert {script.get("type") for script in tags.scripts} == {None, "application/json"}


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    page = write_report(folder_of(tmp_path / "results", HOSTILE, HOSTILE))[-1]
    tags = tags_of(page)
    assert not tags.handlers
    assert all(script.get("id") != "injected" for script in tags.scripts)
    assert html.escape(HOSTILE)[:40] in page.read_text(encoding="utf-8").replace("&#34;", "&quot;").replace(
        "&#39;", "&#x27;"
    )
    assert all(source.startswith(("data:", "#")) for source in tags.sources)


@settings(max_examples=15)
@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30))
def test_any_name_stays_text(name: str) -> None:
    from caps_fast.report.folder import Results  # noqa: PLC0415
    from caps_fast.report.page import page  # noqa: PLC0415

    runs = runs_of((name, "caps"), preset=name)
    tags, plain_tags = Tags(), Tags()
    tags.feed(page(Results(name, runs, {}), {}))
    plain_tags.feed(page(Results("x", runs_of(("y", "caps"), preset="z"), {}), {}))
    assert (len(tags.scripts), tags.sources, tags.handlers) == (len(plain_tags.scripts), plain_tags.sources, [])


def in_browser(page: Path, profile: Path) -> str:
    """The page's document after its scripts have run, without a network."""
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize("name", ["paper", HOSTILE], ids=["plain", "hostile"])
def test_the_page_works_in_a_real_browser(tmp_path: Path, name: str) -> None:
    page = write_report(folder_of(tmp_path / "results", name, "caps" if name == "paper" else name))[-1]
    document = in_browser(page, tmp_path / "profile")
    assert 'data-ready="yes"' in document
    assert ">This chart could not be drawn" not in document
    assert len(re.findall(r'<svg[^>]*class="marks"', document)) == 3  # curves and plane, timeline, latencies
    assert "<title>caps-fast: results</title>" in document
    assert 'id="injected"' not in document
    for text in ("SLO attainment", "carbon intensity", "share with a longer latency", "Carbon-Aware"):
        assert text in document
