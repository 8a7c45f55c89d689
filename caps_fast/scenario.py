"""A run, described whole: typed, validated, frozen, in user units.

A scenario is read from TOML, built from a preset, or made in Python; it is echoed beside every result. Fields are documented where they stand.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from caps_fast.errors import InputError
from caps_fast.files import read_toml
from caps_fast.profiles import profile_fields
from caps_fast.sections import (
    LONGEST_DAYS,
    Carbon,
    Cluster,
    Gpu,
    Monitor,
    NonNegative,
    PolicyChoice,
    Positive,
    Predictor,
    Section,
    Tiers,
    Workload,
)
from caps_fast.spelled import spelled


class Scenario(Section):
    """Everything that determines a run."""

    preset: str = Field("paper", description="the preset that the scenario started from")
    seed: int = Field(0, ge=0, le=2**32 - 1)
    days: Positive = Field(7.0, le=LONGEST_DAYS)
    start: str | None = Field(None, description="date and time of t = 0 (UTC unless it has an offset); none = the trace's own, if it has dates")
    drain_h: NonNegative = Field(48.0, le=24 * LONGEST_DAYS, description="hours after the last arrival in which work may still finish")
    control_step_s: Positive = Field(1.0, ge=0.001)
    cluster: Cluster
    gpu: Gpu
    slo: Tiers
    workload: Workload
    carbon: Carbon
    monitor: Monitor
    policy: PolicyChoice
    predictor: Predictor

    @model_validator(mode="before")
    @classmethod
    def _fill_from_profile(cls, data: Any) -> Any:
        gpu = data.get("gpu") if isinstance(data, dict) else None
        if isinstance(gpu, dict) and spelled(gpu.get("profile"), str | None):
            return {**data, "gpu": {**_profile(data), **gpu}}
        return data

    @property
    def horizon_s(self) -> float:
        return self.days * 86400.0

    def replace(self, changes: Mapping[str, Any]) -> Scenario:
        """A scenario with dotted fields changed, e.g. `{"workload.rate_rps": 4, "policy.lambda": 1}`; validated anew. Raises InputError."""
        if changes.get("preset", self.preset) != self.preset:
            raise InputError(f"preset {changes['preset']!r}: a scenario made from {self.preset!r}, whose values it holds, cannot start from another")
        data = self.model_dump(mode="json")
        if "rate_rps" not in self.workload.model_fields_set:
            del data["workload"]["rate_rps"]  # the default depends on the trace
        if self.gpu.profile:
            filled = _profile(data)
            data["gpu"] = {key: value for key, value in data["gpu"].items() if filled.get(key) != value}
        for path in sorted(changes, key=lambda path: path != "gpu.profile"):  # first, for it clears what others may set
            _set(data, path, changes[path])
        return build(data, "scenario")

    @cached_property
    def hash(self) -> str:
        """Content hash of all fields and of the files they name (16 hex digits)."""
        data = self.model_dump(mode="json")
        data["files"] = {path: file_hash(path) for path in self.input_files}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def input_files(self) -> tuple[str, ...]:
        policy_file = self.policy.own[0] if self.policy.own else None
        named = (self.workload.trace, self.carbon.file, self.monitor.forecast_file, policy_file, self.predictor.model)
        return tuple(path for path in named if path)


def presets() -> list[str]:
    """Names of the built-in presets."""
    return sorted(entry.name.removesuffix(".toml") for entry in files("caps_fast.presets").iterdir() if entry.name.endswith(".toml"))


def preset(name: str) -> Scenario:
    """The built-in preset of that name.

    Raises InputError where there is none.
    """
    return build(_preset_data(name), f"preset {name}")


def load(path: str | Path) -> Scenario:
    """Read a scenario from TOML: a preset (field `preset`, default `paper`) with the file's fields laid over it.

    Raises InputError naming the file and the field.
    """
    data = read_toml(path, "a scenario")
    name = data.get("preset", "paper")
    if not isinstance(name, str):
        raise InputError(f"{path}: preset {name!r}: expected one of {', '.join(presets())}")
    return build(_merge(_preset_data(name), data), str(path))


def build(data: Mapping[str, Any], origin: str) -> Scenario:
    """Validate nested plain data; one line an error, naming `origin` and the field. Raises InputError."""
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("function-after", "constrained-float"))
        message = first["msg"].removeprefix("Value error, ")
        value = first.get("input")
        shown = "" if first["type"] == "value_error" or isinstance(value, dict) else f" {value!r}:"
        raise InputError(f"{origin}: {field}{shown} {message}") from None


def file_hash(path: str) -> str:
    """SHA-256 of a file's content (16 hex digits); of a name like `package:...` itself. Raises InputError where it cannot be read."""
    if path.startswith("package:"):
        return hashlib.sha256(path.encode()).hexdigest()[:16]
    try:
        found = os.stat(path)
        return _content_hash(path, found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


@cache
def _content_hash(path: str, *state: int) -> str:
    """The hash of a file's content, which is read once while the file's `state` stays the same."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _preset_data(name: str) -> dict[str, Any]:
    if name not in presets():
        raise InputError(f"preset {name!r}: expected one of {', '.join(presets())}")
    return tomllib.loads(files("caps_fast.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _profile(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the GPU profile of a scenario's data fills in, its power at the cluster's batch."""
    cluster = data.get("cluster")
    batch = cluster.get("max_batch") if isinstance(cluster, Mapping) else None
    return profile_fields(str(data["gpu"]["profile"]), batch if isinstance(batch, int) else None)


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted field. Raises InputError where a scenario has none of that name."""
    *parents, leaf = path.split(".")
    model: Any = Scenario
    node: Any = data
    for part in parents:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
        node = node.get(part) if isinstance(node, dict) else None
    known = {name for name, field in getattr(model, "model_fields", {}).items() for name in (name, field.alias) if name}
    if not isinstance(node, dict) or (leaf not in known and parents[-1:] not in (["options"], ["trace_columns"])):
        raise InputError(f"{path}: no such field of a scenario")
    if path == "gpu.profile":
        node.clear()
    node[leaf] = deepcopy(value)
