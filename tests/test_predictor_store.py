"""Model files: whole or refused in one line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caps_fast import scenario
from caps_fast.errors import InputError
from caps_fast.predictor import Model, load, save, train
from caps_fast.predictor.explore import RISK_FEATURES

SMALL = scenario.preset("measured").replace(
    {"predictor.train_requests": 4000, "workload.tenants": 12, "cluster.max_batch": 8}
)


@pytest.fixture(scope="module")
def model() -> Model:
    lessons = train.lessons_of(SMALL)
    length, scores = train.train_length(lessons)
    risk, judged = train.train_risk(SMALL, length, lessons, True)
    return Model(
        length, {"tiers": risk}, {"length": scores, "tiers": judged}, {"cluster": SMALL.cluster.model_dump(mode="json")}
    )


@pytest.fixture
def model_file(model: Model, tmp_path: Path) -> Path:
    save(model, tmp_path / "model.npz")
    return tmp_path / "model.npz"


def test_model_file_round_trip(model: Model, model_file: Path) -> None:
    again = load(model_file)
    assert again.length.key == model.length.key
    assert again.length.widen == model.length.widen
    assert again.scores == json.loads(json.dumps(model.scores))
    rows = np.random.default_rng(0).uniform(0, 500, (1000, len(RISK_FEATURES)))
    for name, risk in model.risks.items():
        assert (again.risks[name].predict(rows) == risk.predict(rows)).all()
    second = model_file.with_name("second.npz")
    save(again, second)
    assert second.read_bytes() == model_file.read_bytes()


def test_truncated_model(model_file: Path) -> None:
    content = model_file.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        model_file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=r"model\.npz: .*expected a model written by caps-fast train"):
            load(model_file)
    for at in range(0, len(content), len(content) // 20):
        model_file.write_bytes(content[:at] + b"\xff\x00\xaa" + content[at + 3 :])
        with contextlib.suppress(InputError):
            load(model_file)


def test_foreign_models(model_file: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, weights=np.zeros(3))
    with pytest.raises(InputError, match=r"foreign\.npz: no header"):
        load(foreign)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, header=np.array([{"format": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a model"):
        load(pickled)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"array\.npy: not a model"):
        load(tmp_path / "array.npy")
    text = tmp_path / "lightgbm.txt"
    text.write_text("tree\nversion=v4\n")
    with pytest.raises(InputError, match="not a model"):
        load(text)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "absent.npz")
    with pytest.raises(InputError):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda header: header.update(version=2),
            "caps-fast predictor version 2: expected caps-fast predictor version 1",
        ),
        (lambda header: header.update(format="xgboost"), "xgboost version 1: expected"),
        (
            lambda header: header["features"].update(length=["input_tokens"]),
            "length model of features input_tokens: expected input_tokens, turns",
        ),
        (lambda header: header["features"].pop("risk"), "risk model of features none: expected tier, role"),
        (lambda header: header.pop("features"), "'features' is missing or damaged"),
        (lambda header: header.pop("lag_s"), "'lag_s' is missing or damaged"),
        (lambda header: header.update(risks=["tiers", "others"]), "risk.others"),
    ],
)
def test_other_versions_and_features(model_file: Path, change: Any, said: str) -> None:
    with np.load(model_file) as archive:
        content = {name: archive[name] for name in archive.files}
    header = json.loads(str(content["header"]))
    change(header)
    content["header"] = np.array(json.dumps(header))
    np.savez(model_file, **content)
    with pytest.raises(InputError, match=said):
        load(model_file)


@pytest.mark.parametrize("name", ["length.median.table.0", "length.low.edges.3", "risk.tiers.table.2"])
def test_damaged_tables(model_file: Path, name: str) -> None:
    with np.load(model_file) as archive:
        content = {key: archive[key] for key in archive.files}
    content[name] = content[name][..., ::-1][..., 1:]
    np.savez(model_file, **content)
    with pytest.raises(InputError, match=name):
        load(model_file)


def test_saving_where_one_cannot(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save(model, tmp_path / "file" / "model.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
