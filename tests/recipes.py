"""Follow a page of docs/howto word for word: `python tests/recipes.py PAGE.md`, in an empty folder.

A code block that follows a line "`NAME`:" is written to the file NAME; a `diff` block is applied to a copy of the
package, which is used from there on; of a `console` block, lines that begin with "$ " are run; any other `python` block
is executed. Everything must succeed.
"""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numba

BLOCK = re.compile(
    r"(?:^`(?P<file>[\w.\-]+)`:\n\n)?^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


ROOT = Path(__file__).parent.parent


class Block(NamedTuple):
    """A fenced block: its language, the file that it is to be written to, its lines."""

    language: str
    file: str | None
    text: str


def blocks(page: str) -> Iterator[Block]:
    for found in BLOCK.finditer(page):
        indent = len(found["indent"])
        lines = [line[indent:] for line in found["text"].splitlines()]
        yield Block(found["language"], found["file"], "\n".join(lines) + "\n")


def copy_package() -> None:
    """Use a copy of the package from here on, as plain Python: a copy's kernels would be compiled anew."""
    if not Path("caps_fast").exists():
        shutil.copytree(ROOT / "caps_fast", "caps_fast", ignore=shutil.ignore_patterns("__pycache__"))
        Path("docs").mkdir()
        shutil.copy(ROOT / "docs" / "schema.md", "docs")
        sys.path[0] = ""
    for module in [module for module in sys.modules if module.partition(".")[0] == "caps_fast"]:
        del sys.modules[module]
    numba.config.DISABLE_JIT = True


def apply(diff: str) -> None:
    """Replace the only place that a diff's context and removed lines match by its context and added lines."""
    name = re.search(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)
    assert name, "a diff that names no file"
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    text = Path(name[1]).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{name[1]} has {text.count(old)} places like\n{old}"
    Path(name[1]).write_text(text.replace(old, new), encoding="utf-8")


def run(command: str) -> None:
    words = shlex.split(command)
    sys.argv = words[1:] if words[0] == "python" else words
    try:
        if words[0] == "caps-fast":
            importlib.import_module("caps_fast.cli").main()
        elif words[0] == "python":
            runpy.run_path(words[1], run_name="__main__")
        elif words == ["make", "schema"]:
            sys.argv = ["schema", "docs/schema.md"]
            runpy.run_module("caps_fast.schema", run_name="__main__")
        else:
            raise AssertionError(f"{command}: no command of a recipe")
    except SystemExit as ended:
        if ended.code:
            raise AssertionError(f"{command}: exit code {ended.code}") from None


def follow(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "diff":
            copy_package()
            apply(block.text)
        elif block.language == "console":
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    print(line, flush=True)
                    run(line.removeprefix("$ "))
        elif block.language == "python":
            exec(compile(block.text, page.name, "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # the package, not the tests
    follow(Path(sys.argv[1]))
