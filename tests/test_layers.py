"""House rules that a machine can check: imports go down only, files hold one idea, nothing names a registry host or
a machine's paths.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "caps_fast"

# Lowest first. A module or subpackage imports from lower rows only, not from its own row nor from above; inside a
# subpackage anything goes.
LAYERS = """
    errors interrupt caches progress policy_names callable_module
    _parts
    _jit
    by_reference records traits
    standing served limits fairness crowd outcomes
    arrays parquet_check files text_table words
    reach moments
    instants spelled
    polars_io documents
    sealed unpacking
    containers physics normal outlook memory soundness
    policy
    policies engine
    profiles presets traces
    section
    demand admission origins clock_section failure_section habits site
    client_groups replica_section grid_section
    sessions
    sections estimate policy_choice
    fleet
    clock_levels scenario_fields
    scenario books
    clock metrics pack_scaling places
    carbon workload pack_origins
    prices crossings failures
    hosts
    pack_sessions pack_waiting pack_kinds
    pack choose schema saved_scaling saved_trees saved_fairness saved_sessions
    predictor outcome saved_places
    saved_state
    checkpoint inputs results
    simulation bounds
    sweep validation
    compare pareto tune calibrate sizing fitting study supply foresight
    reproduce report
    cli
    __main__
"""
RANK = {module: rank for rank, row in enumerate(LAYERS.strip().splitlines()) for module in row.split()}

MAX_LINES = 400
UNWANTED = re.compile(
    r"py[p]i\.org|pytho[n]hosted|deb[.]debian|registry[.]npmjs|(?<![\w.])/(wor[k]|roo[t]|hom[e]|tm[p]/venv)/"
)
FOLDERS = (".ci", "benchmarks", "caps_fast", "docs", "sweeps", "tests")
TEXT = {".py", ".toml", ".md", ".txt", ".csv", ".json", ".jsonl", ".svg"}
TEXT_NAMES = {"Makefile", "LICENSE", "run", ".gitignore"}

MODULES = sorted(PACKAGE.rglob("*.py"))
FILES = sorted(
    path
    for found in (ROOT.glob("*"), *((ROOT / folder).rglob("*") for folder in FOLDERS))
    for path in found
    if path.is_file() and (path.suffix in TEXT or path.name in TEXT_NAMES)
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(node: ast.AST) -> Iterator[str]:
    """Top-level modules of caps_fast that the code imports anywhere, save under `if TYPE_CHECKING`."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        return
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: relative import; expected caps_fast.<module>"
        names = [
            f"{node.module}.{alias.name}" if node.module == "caps_fast" else str(node.module) for alias in node.names
        ]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = []
    yield from (found.split(".")[1] for found in names if found.startswith("caps_fast."))
    for child in ast.iter_child_nodes(node):
        yield from imports(child)


@pytest.mark.parametrize("path", [path for path in MODULES if layer_of(path) != "__init__"], ids=name)
def test_imports_go_down_only(path: Path) -> None:
    own = layer_of(path)
    assert own in RANK, f"caps_fast.{own} has no place in LAYERS"
    known = {found for found in imports(ast.parse(path.read_text(encoding="utf-8"))) if found in RANK}
    upwards = {found for found in known if found != own and RANK[found] >= RANK[own]}
    assert not upwards, f"{name(path)} imports {sorted(upwards)}: not below {own}"


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".py"], ids=name)
def test_files_hold_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES


@pytest.mark.parametrize("path", [path for path in MODULES if path.name not in ("polars_io.py", "sealed.py")], ids=name)
def test_polars_is_handed_no_names(path: Path) -> None:
    found = [
        use
        for use in re.findall(r"pl\.(?:scan|read)_\w+\(.*", path.read_text(encoding="utf-8"))
        if "io.BytesIO(" not in use
    ]
    assert not found, f"{name(path)}: Polars takes names as patterns; expected polars_io"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_registry_host_and_no_machine_path(path: Path) -> None:
    found = UNWANTED.search(path.read_text(encoding="utf-8"))
    assert not found, f"{name(path)} names {found}"
