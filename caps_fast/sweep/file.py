"""A sweep from its file: TOML with a base scenario, axes, zips, named settings, groups and seeds. docs/sweeps.md
describes all forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from caps_fast import scenario
from caps_fast.documents import read_toml
from caps_fast.errors import InputError, did_you_mean, naming
from caps_fast.sweep.axes import Axis, Changes, axis, field_of, flatten, named, zipped
from caps_fast.sweep.plan import Grid, Plan
from caps_fast.sweep.values import COUNT, MOST, values

AXES = ("set", "axes", "zip", "named", "seeds", "fresh_seeds")
KEYS = ("title", "preset", "scenario", "groups", *AXES)


def read(path: str | Path) -> Plan:
    """The plan that a sweep file describes. Raises InputError naming the file and the key."""
    data = read_toml(path, "a sweep")
    with naming(str(path)):
        return replace(_plan(data, Path(path)), origin=str(path))


def _plan(data: Mapping[str, Any], path: Path) -> Plan:
    origin = str(path)
    _expect_keys(data, KEYS, origin)
    base = data.get("scenario")
    for key in ("preset", "scenario", "title"):
        if not isinstance(data.get(key, ""), str):
            raise InputError(f"{origin}: {key} {data[key]!r}: expected text")
    shared = _part(data, origin)
    groups = _table(data, "groups", origin, nested=True)
    grids = [_grid("", shared, {})] if not groups else []
    for name, group in groups.items():
        where = f"{origin}: groups.{name}"
        _expect_keys(group, AXES, where)
        grids.append(_grid(name, shared, _part(group, where)))
    return assemble(
        path.stem, grids, data.get("preset"), path.parent / base if base else None, str(data.get("title", ""))
    )


def assemble(
    name: str, grids: Sequence[Grid], preset: str | None = None, file: str | Path | None = None, title: str = ""
) -> Plan:
    """A plan over a scenario file, or over the presets that the grids name; `preset` (by default `paper`) if they name
    none.

    Raises InputError.
    """
    wanted = [changes["preset"] for grid in grids for changes in _settings(grid) if "preset" in changes]
    if file is not None:
        if wanted or preset is not None:
            raise InputError(
                f"preset {(wanted or [preset])[0]!r} together with the scenario {file}: expected one of them"
            )
        base = scenario.load(file)
        return Plan(name, {base.preset: base}, tuple(grids), title)
    everywhere = all(any("preset" in changes for changes in _settings(grid)) for grid in grids)
    names = dict.fromkeys(([] if everywhere else [preset or "paper"]) + wanted)
    return Plan(name, {one: scenario.preset(one) for one in names}, tuple(grids), title)


def seed_axis(raw: Any, origin: str) -> Axis:
    """The axis of seeds: a number of seeds (from 0), or values and ranges as for any axis. Raises InputError."""
    if isinstance(raw, str) and COUNT.fullmatch(raw.strip()):
        raw = int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        if not 1 <= raw < MOST:
            raise InputError(f"{origin}: {raw}; expected at least one seed, and fewer than {MOST:,}")
        return Axis("seed", ("seed",), [(seed,) for seed in range(raw)])
    found = values(raw, origin)
    wrong = [seed for seed in found if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0]
    if wrong:
        raise InputError(f"{origin}: {wrong[0]!r}; expected whole numbers from 0")
    return axis("seed", list(found), origin)


def _part(data: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Fixed fields, axes and fresh seeds of a file or of one of its groups."""
    fixed: Changes = {field_of(key): value for key, value in flatten(_table(data, "set", origin)).items()}
    axes = [axis(key, raw, f"{origin}: axes.{key}") for key, raw in flatten(_table(data, "axes", origin)).items()]
    zips = data.get("zip", [])
    if not isinstance(zips, list) or not all(isinstance(one, dict) for one in zips):
        raise InputError(f"{origin}: zip: expected [[zip]] tables")
    axes += [zipped(flatten(one), f"{origin}: zip {number}") for number, one in enumerate(zips, 1)]
    axes += [
        named(key, one, f"{origin}: named.{key}") for key, one in _table(data, "named", origin, nested=True).items()
    ]
    if "seeds" in data:
        axes.append(seed_axis(data["seeds"], f"{origin}: seeds"))
    fresh = data.get("fresh_seeds", [])
    if not isinstance(fresh, list):
        raise InputError(f"{origin}: fresh_seeds {fresh!r}: expected a list of axes")
    return {"fixed": fixed, "axes": axes, "fresh": tuple(map(str, fresh))}


def _grid(name: str, shared: Mapping[str, Any], own: Mapping[str, Any]) -> Grid:
    """A group's grid: its own settings before the shared ones, seeds innermost."""
    fixed, axes = own.get("fixed", {}), own.get("axes", [])
    taken = {field for one in axes for field in one.fields} | set(fixed)
    axes = [one for one in shared["axes"] if taken.isdisjoint(one.fields)] + axes
    fixed = {field: value for field, value in shared["fixed"].items() if field not in taken} | fixed
    axes.sort(key=lambda one: one.fields == ("seed",))
    return Grid(name, fixed, tuple(axes), own.get("fresh") or shared["fresh"])


def _settings(grid: Grid) -> list[Changes]:
    return [grid.fixed, *(one.at(index) for one in grid.axes if "preset" in one.fields for index in range(len(one)))]


def _expect_keys(data: Mapping[str, Any], known: Sequence[str], origin: str) -> None:
    for key in data:
        if key not in known:
            raise InputError(
                f"{origin}: {key}{did_you_mean(key, known)}: unknown key of a sweep; expected some of "
                f"{', '.join(known)}"
            )


def _table(data: Mapping[str, Any], key: str, origin: str, nested: bool = False) -> dict[str, Any]:
    """The table under a key; `nested`: a table of tables. Raises InputError."""
    found = data.get(key, {})
    if not isinstance(found, dict) or (nested and not all(isinstance(one, dict) for one in found.values())):
        raise InputError(f"{origin}: {key}: expected a table, as in [{key}{'.NAME' if nested else ''}]")
    return found
