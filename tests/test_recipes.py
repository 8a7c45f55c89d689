"""Every page of docs/howto is followed word for word, in a copy of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recipes import blocks

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for path in (ROOT / "docs" / "howto").glob("*.md") if path.name != "index.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_recipe_does_what_it_says(tmp_path: Path, page: Path) -> None:
    steps = list(blocks(page.read_text(encoding="utf-8")))
    command = [sys.executable, str(ROOT / "tests" / "recipes.py"), str(page)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for block in steps:
        assert block.file or block.language in ("console", "diff", "python"), (
            f"{page.name}: a block of {block.language} that nothing follows"
        )


def test_all_recipes_are_followed() -> None:
    assert [page.stem for page in PAGES] == ["gpu", "metric", "placement", "policy", "region", "trace-format"]


def test_a_stale_recipe_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "stale.md"
    page.write_text("```diff\n--- a/x.py\n+++ b/x.py\n gone\n+new\n```\n", encoding="utf-8")
    (tmp_path / "x.py").write_text("here\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "tests" / "recipes.py"), str(page)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "x.py has 0 places like" in done.stderr
