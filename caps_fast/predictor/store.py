"""Model files: one archive of plain arrays and text (never pickled), with a format name, a version and the features
that the model was trained on.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caps_fast.documents import parse_json, read_arrays
from caps_fast.errors import InputError
from caps_fast.files import whole
from caps_fast.predictor import length, risk
from caps_fast.predictor.explore import RISK_FEATURES
from caps_fast.predictor.features import LENGTH_FEATURES
from caps_fast.predictor.forest import Groups, Tables
from caps_fast.predictor.length import LengthModel
from caps_fast.predictor.risk import RiskModel
from caps_fast.records import Array

FORMAT, VERSION = "caps-fast predictor", 1
EXPECTED = "expected a model written by caps-fast train"
MOST_BYTES = 1 << 29  # of its arrays
DAMAGES = (
    *(
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        KeyError,
        NotImplementedError,
        AttributeError,
        MemoryError,
        SyntaxError,
        TypeError,
    ),
    RecursionError,
)
FORESTS = ("median", "low", "high")


@dataclass(frozen=True)
class Model:
    """A trained predictor.

    length      of all requests
    risks       by "tiers" and "no-tiers" (the mean of the tiers' limits for all), as far as trained
    scores      on the held-out parts, by the same names and "length"
    trained_on  the fields of the scenario that it depends on
    """

    length: LengthModel
    risks: Mapping[str, RiskModel] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    trained_on: Mapping[str, Any] = field(default_factory=dict)


def save(model: Model, path: str | Path) -> None:
    """Write a model file atomically. Raises InputError if that is not possible."""
    path = Path(path)
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **_packed(model))
    with whole(path) as beside:
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(stream.getvalue())


def load(path: str | Path) -> Model:
    """Read a model file.

    Raises InputError naming it if it is truncated, foreign, or of another version or other features.
    """
    try:
        content = read_arrays(path, MOST_BYTES)
    except DAMAGES:
        raise InputError(f"{path}: not a model, or truncated: {EXPECTED}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}): {EXPECTED}") from None
    return _unpacked(content, str(path))


def _packed(model: Model) -> dict[str, Array]:
    header = {
        "format": FORMAT,
        "version": VERSION,
        "features": {"length": LENGTH_FEATURES, "risk": RISK_FEATURES},
        "groups": {"length": length.GROUPS, "risk": risk.GROUPS},
        "lag_s": model.length.lag_s,
        "widen": model.length.widen,
        "risks": list(model.risks),
        "scores": dict(model.scores),
        "trained_on": dict(model.trained_on),
    }
    packed = {"header": np.array(json.dumps(header))}
    forests = {f"length.{name}": getattr(model.length, name) for name in FORESTS}
    forests |= {f"risk.{name}": found.forest for name, found in model.risks.items()}
    for name, forest in forests.items():
        packed[f"{name}.text"] = np.array(forest.text)
        packed |= {f"{name}.edges.{index}": edges for index, edges in enumerate(forest.edges)}
        packed |= {f"{name}.table.{index}": table for index, table in enumerate(forest.tables)}
    return packed


def _unpacked(content: Mapping[str, Array], path: str) -> Model:
    try:
        header = parse_json(str(content["header"]))
        found = (header["format"], header["version"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: no header: {EXPECTED}") from None
    if found != (FORMAT, VERSION):
        raise InputError(
            f"{path}: {found[0]} version {found[1]}: expected {FORMAT} version {VERSION}; train it again with "
            "caps-fast train"
        )
    wanted = {"length": (LENGTH_FEATURES, length.GROUPS), "risk": (RISK_FEATURES, risk.GROUPS)}
    try:
        for part, (features, groups) in wanted.items():
            if header["features"].get(part) != list(features) or header["groups"].get(part) != [
                list(group) for group in groups
            ]:
                shown = ", ".join(map(str, header["features"].get(part) or ())) or "none"
                raise InputError(
                    f"{path}: {part} model of features {shown}: expected {', '.join(features)}; train it again "
                    "with caps-fast train"
                )
        median, low, high = (
            _forest(content, f"length.{name}", len(LENGTH_FEATURES), length.GROUPS) for name in FORESTS
        )
        risks = {
            name: RiskModel(_forest(content, f"risk.{name}", len(RISK_FEATURES), risk.GROUPS))
            for name in header["risks"]
        }
        below, above = header["widen"]
        fitted = LengthModel(median, low, high, (float(below), float(above)), float(header["lag_s"]))
        return Model(fitted, risks, header["scores"], header["trained_on"])
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())} is missing or damaged: {EXPECTED}") from None


def _forest(content: Mapping[str, Array], name: str, features: int, groups: Groups) -> Tables:
    """One forest. Raises KeyError for missing parts and ValueError for inconsistent ones."""
    edges = [content[f"{name}.edges.{index}"] for index in range(features)]
    tables = [content[f"{name}.table.{index}"] for index in range(len(groups))]
    for index, values in enumerate(edges):
        if (
            values.dtype != np.float64
            or values.ndim != 1
            or not (np.isfinite(values).all() and (np.diff(values) > 0).all())
        ):
            raise ValueError(f"{name}.edges.{index}")
    for index, (group, table) in enumerate(zip(groups, tables, strict=True)):
        if (
            table.dtype != np.float64
            or table.shape != tuple(len(edges[feature]) + 1 for feature in group)
            or not np.isfinite(table).all()
        ):
            raise ValueError(f"{name}.table.{index}")
    return Tables(edges, groups, tables, str(content[f"{name}.text"]))
