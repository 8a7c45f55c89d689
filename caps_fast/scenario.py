"""The complete description of a run: typed, validated, frozen, in user units.

A scenario is read from TOML, built from a preset, or made in Python; it is echoed with every result. Fields are
documented at their definition.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from caps_fast.admission import Admission
from caps_fast.documents import parse_toml, read_toml
from caps_fast.errors import InputError, did_you_mean, reason_of
from caps_fast.files import open_regular
from caps_fast.fleet import (
    FORMS,
    SHORT_REGION,
    Fleet,
    expect_consistent,
    expect_one_form,
    laid_over,
    lengthen,
    with_defaults,
)
from caps_fast.grid_section import Carbon, Monitor, Region
from caps_fast.origins import Links, Origin, expect_known_places
from caps_fast.policy_choice import LONGEST_DAYS, PolicyChoice, Predictor
from caps_fast.profiles import profile_fields
from caps_fast.replica_section import Gpu, Kind
from caps_fast.scenario_fields import field_hint, set_field
from caps_fast.section import LATER, NonNegative, Positive, Section, message_of
from caps_fast.sections import TIERS, Cluster, Pool, Tiers, Workload
from caps_fast.spelled import spelled
from caps_fast.text_table import counted

NO_FIELDS = ("function-after", "constrained-float", "[key]")  # parts of an error's place that no user wrote


class Scenario(Section):
    """Everything that determines a run: typed, validated, frozen, in user units.

    Created by `preset`, `load` and `replace`.

    >>> from caps_fast import preset
    >>> preset("paper")
    <Scenario paper: policy caps, 24 replicas in 8/8/8, 10 requests per s, 7 days, seed 0>
    >>> preset("paper").slo.gold.ttft_s
    0.9
    """

    preset: str = Field("paper", description="the preset that the scenario started from")
    seed: int = Field(0, ge=0, le=2**32 - 1)
    days: Positive = Field(7.0, le=LONGEST_DAYS)
    start: str | None = Field(
        None,
        description="date and time of t = 0 (UTC unless it has an offset); none = the trace's own, if it has dates",
    )
    drain_h: NonNegative = Field(
        48.0, le=24 * LONGEST_DAYS, description="hours after the last arrival in which work may still finish"
    )
    control_step_s: Positive = Field(1.0, ge=0.001)
    cluster: Cluster | None = None
    gpu: Gpu | None = None
    gpus: dict[str, Kind] | None = Field(None, min_length=1, description="kinds of replica by name")
    pools: tuple[Pool, ...] | None = Field(None, min_length=1)
    slo: Tiers
    workload: Workload
    carbon: Carbon | None = None
    monitor: Monitor | None = None
    regions: dict[str, Region] | None = Field(None, min_length=1, description="grids by name")
    origins: dict[str, Origin] | None = Field(
        None,
        min_length=1,
        json_schema_extra=LATER,
        description="places that requests come from, by name (docs/regions.md)",
    )
    links: Links | None = Field(
        None, json_schema_extra=LATER, description="links between regions, over which the context of requests moves"
    )
    policy: PolicyChoice
    predictor: Predictor
    admission: Admission | None = Field(
        None, json_schema_extra=LATER, description="limits of what may wait; none = no limit"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Set the fields of profiles, and the kind and region of pools if there is only one."""
        if not isinstance(data, dict):
            return data
        expect_one_form(data)
        data = with_defaults(data)
        cluster = data.get("cluster")
        if isinstance(data.get("gpu"), dict):
            data["gpu"] = _filled(data["gpu"], cluster.get("max_batch") if isinstance(cluster, dict) else None)
        if isinstance(data.get("gpus"), dict):
            kinds = data["gpus"].items()
            data["gpus"] = {
                name: _filled(kind, kind.get("max_batch")) if isinstance(kind, dict) else kind for name, kind in kinds
            }
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.pools is None and (self.cluster is None or self.gpu is None):
            raise ValueError("no fleet: expected [[pools]] and [gpus.NAME], or [cluster] and [gpu]")
        if self.pools is not None and self.gpus is None:
            raise ValueError("[[pools]] without [gpus.NAME]: expected both")
        expect_consistent(self.fleet)
        bound = {name: tier.regions for name, tier in zip(TIERS, self.slo.all, strict=True)}
        expect_known_places(self.origins or {}, bound, self.links, tuple(self.fleet.regions))
        return self

    @cached_property
    def fleet(self) -> Fleet:
        """Kinds, regions and pools; the short form is converted."""
        kinds, pools, regions = self.gpus, self.pools, self.regions
        if self.cluster is not None and self.gpu is not None:
            short = {part: getattr(self, part).model_dump() for part in ("cluster", "gpu")}
            long = lengthen(short, "fleet")
            only = next(iter(regions)) if regions and len(regions) == 1 else SHORT_REGION
            kinds = {name: Kind(**kind) for name, kind in long["gpus"].items()}
            pools = tuple(Pool(**pool, region=only) for pool in long["pools"])
        if regions is None:
            regions = {SHORT_REGION: Region(carbon=self.carbon or Carbon(), monitor=self.monitor or Monitor())}
        return Fleet(kinds or {}, regions, pools or ())

    def __repr__(self) -> str:
        """One line; `model_dump()` has all fields."""
        rate = (
            "rate of its trace or users"
            if self.workload.asked_rps is None
            else f"{self.workload.rate_rps:g} requests per s"
        )
        fleet = f"{counted(self.fleet.replicas, 'replica')} in {self.fleet.split}"
        return (
            f"<Scenario {self.preset}: policy {self.policy.name}, {fleet}, {rate}, {counted(self.days, 'day')}, seed "
            f"{self.seed}>"
        )

    __str__ = __repr__

    @property
    def horizon_s(self) -> float:
        """Length of the arrivals in seconds."""
        return self.days * 86400.0

    def replace(self, changes: Mapping[str, Any] | None = None, /, **fields: Any) -> Scenario:
        """A scenario with changed fields, validated again; this one is not changed.

        changes   by dotted field: `{"workload.rate_rps": 4, "policy.lambda": 1}`
        fields    the same as keywords, with two underscores for a dot: `workload__rate_rps=4`

        Raises InputError for unknown fields and bad values.

        >>> from caps_fast import preset
        >>> scenario = preset("paper").replace({"policy.lambda": 1}, days=1, workload__rate_rps=12)
        >>> scenario.days, scenario.workload.rate_rps, scenario.policy.lambda_
        (1.0, 12.0, 1.0)
        """
        given = {name.replace("__", "."): value for name, value in fields.items()}
        if twice := sorted(given.keys() & (changes or {}).keys()):
            raise InputError(f"{twice[0]} appears twice; expected once")
        changes = {**(changes or {}), **given}
        if changes.get("preset", self.preset) != self.preset:
            raise InputError(
                f"preset {changes['preset']!r}: a scenario made from {self.preset!r}, whose values it holds, "
                "cannot start from another"
            )
        data = self.model_dump(mode="json")
        if "rate_rps" not in self.workload.model_fields_set:
            del data["workload"]["rate_rps"]  # the default depends on the trace
        if data["gpu"]:
            data["gpu"] = _as_given(data["gpu"], data["cluster"]["max_batch"])
        for name, kind in (data["gpus"] or {}).items():
            data["gpus"][name] = _as_given(kind, kind["max_batch"])
        short = {part for parts, _ in FORMS.values() for part in parts}
        # Profiles first, because they clear other fields; then the short form, which a field of the long one converts
        #
        for path in sorted(changes, key=lambda path: (not path.endswith(".profile"), path.split(".")[0] not in short)):
            set_field(Scenario, data, path, changes[path])
        return build(data, "scenario")

    @cached_property
    def hash(self) -> str:
        """Content hash of all fields and of the files they name (16 hex digits)."""
        data = self.hashed()
        data["files"] = {path: file_hash(path) for path in self.input_files}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def input_files(self) -> tuple[str, ...]:
        """Files that the scenario names, each once."""
        regions = self.fleet.regions.values()
        grids = [
            path for region in regions for path in (region.carbon.file, region.monitor.forecast_file, region.price_file)
        ]
        grids += [region.marginal.file for region in regions if region.marginal]
        own = [named[0] for named in (self.policy.own, self.policy.own_placement, self.policy.own_scaling) if named]
        named = (*self.workload.files, *grids, *own, self.predictor.model)
        return tuple(dict.fromkeys(path for path in named if path))


def presets() -> list[str]:
    """Names of the built-in presets.

    >>> from caps_fast import presets
    >>> presets()
    ['measured', 'paper']
    """
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files("caps_fast.presets").iterdir()
        if entry.name.endswith(".toml")
    )


def preset(name: str) -> Scenario:
    """The built-in preset of that name. Raises InputError for an unknown name.

    >>> from caps_fast import preset
    >>> preset("measured").replace(days=1).workload.rate_rps
    10.0
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
    try:
        expect_one_form(data)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return build(_merge(laid_over(_preset_data(name), data), data), str(path))


def build(data: Mapping[str, Any], origin: str) -> Scenario:
    """Validate nested plain data. Raises InputError in one line, naming `origin` and the field."""
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(_name_of(part, data) for part in first["loc"] if part not in NO_FIELDS)
        message = message_of(first)
        if first["type"] == "extra_forbidden":
            field += field_hint(Scenario, field)
        value = first.get("input")
        shown = "" if first["type"] == "value_error" or isinstance(value, dict) else f" {repr(value)[:200]}:"
        raise InputError(f"{origin}: {field}{shown} {message}" if field else f"{origin}: {message}") from None


def _name_of(part: Any, data: Mapping[str, Any]) -> str:
    """A part of a field's path; for a pool, its name."""
    pools = data.get("pools")
    if (
        isinstance(part, int)
        and isinstance(pools, list | tuple)
        and part < len(pools)
        and isinstance(pools[part], Mapping)
    ):
        return str(pools[part].get("name", part))
    return str(part)


def file_hash(path: str) -> str:
    """SHA-256 of a file's content (16 hex digits), or of a name like `package:...`.

    Raises InputError if it cannot be read.
    """
    if path.startswith("package:"):
        return hashlib.sha256(path.encode()).hexdigest()[:16]
    try:
        found = os.stat(path)
        return _content_hash(path, found.st_ino, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason_of(error)})") from None


@cache
def _content_hash(path: str, *state: int) -> str:
    """The hash of a file's content, which is read again only if the file's `state` changes."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _preset_data(name: str) -> dict[str, Any]:
    if name not in presets():
        raise InputError(f"preset {name!r}{did_you_mean(name, presets())}: expected one of {', '.join(presets())}")
    return parse_toml(files("caps_fast.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _filled(kind: Mapping[str, Any], max_batch: Any) -> dict[str, Any]:
    """A kind's data with the fields of its profile (power at that batch) for fields that it does not set."""
    if not spelled(kind.get("profile"), str | None):
        return dict(kind)
    return {**profile_fields(str(kind["profile"]), max_batch if isinstance(max_batch, int) else None), **kind}


def _as_given(kind: dict[str, Any], max_batch: int) -> dict[str, Any]:
    """A kind's data without the fields of its profile."""
    filled = _filled({"profile": kind["profile"]}, max_batch)
    return {key: value for key, value in kind.items() if key == "profile" or filled.get(key) != value}
