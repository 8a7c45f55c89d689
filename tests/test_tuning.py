"""`tune`: studies, their resumption, and what cannot be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import caps_fast.sweep.work
from caps_fast.errors import InputError
from caps_fast.scenario import preset
from caps_fast.sweep import Workers
from caps_fast.sweep.space import DEFAULT, dimension
from caps_fast.sweep.tune import Search, tune

CARBON, SLO = "carbon_g_per_1k_tokens", "slo_attainment"
TINY = {"days": 0.002, "predictor.source": "declared"}


def search(**changes: Any) -> Search:
    given = {
        "dimensions": tuple(dimension(text) for text in DEFAULT),
        "objectives": (CARBON, SLO),
        "seeds": (0, 1),
        "held_out": (1000,),
    }
    return Search(**{"base": preset("paper").replace(TINY), **given, **changes})


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tune(search(), tmp_path_factory.mktemp("study") / "calm.log", 18, Workers(1))


def test_tuning_finds_a_front_and_shows_it_on_other_seeds(tuned: Any) -> None:
    assert (tuned.trials, tuned.failed) == (18, 0)
    assert {"policy.beta", "cluster.split", CARBON, SLO, f"held-out {CARBON}"} <= set(tuned.front.columns)
    assert tuned.front[CARBON].is_sorted()
    assert tuned.front[SLO].is_sorted()
    assert 0 < tuned.still_front <= tuned.front.height
    assert tuned.as_given[CARBON][0] >= tuned.front[CARBON][0], "the scenario as given is the first trial"


def test_tuning_is_the_same_whatever_the_workers_and_wherever_it_was_killed(
    tuned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate_group = caps_fast.sweep.work.simulate_group
    calls = 0

    def breaks(configs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return simulate_group(configs)

    study = tmp_path / "study.log"
    with monkeypatch.context() as patch:
        patch.setattr(caps_fast.sweep.work, "simulate_group", breaks)
        with pytest.raises(KeyboardInterrupt):
            tune(search(), study, 18, Workers(1))
    again = tune(search(), study, 18, Workers(2))
    assert again.front.equals(tuned.front)
    assert again == type(again)(**{**vars(tuned), "front": again.front, "as_given": again.as_given})


@pytest.mark.parametrize("cut", [1, 25])
def test_a_study_goes_on_whose_last_line_is_cut_off(tuned: Any, tmp_path: Path, cut: int) -> None:
    study = tmp_path / "study.log"
    tune(search(), study, 9, Workers(1))
    study.write_bytes(study.read_bytes()[:-cut])
    assert tune(search(), study, 18, Workers(1)).front.equals(tuned.front)


def test_studies_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tmp_path / "study.log"
    with pytest.raises(InputError, match="expected one of requests"):
        search(objectives=(CARBON, "nope"))
    with pytest.raises(InputError, match=r"policy\.options\.typo: unknown option"):
        search(dimensions=(dimension("policy.options.typo=0..1"),))
    tune(search(), study, 1, Workers(1))
    monkeypatch.setattr(
        "caps_fast.sweep.tune._evaluate", lambda *_: pytest.fail("runs before another study is refused")
    )
    with pytest.raises(InputError, match="another objectives"):
        tune(search(objectives=("ttft_p95_s", SLO)), study, 1, Workers(1))
    for text in ("no study\n", "no study", "{}\n", "1\n", 'preset = "paper"\n'):
        (tmp_path / "other.log").write_text(text)
        with pytest.raises(InputError, match="line 1: not a study"):
            tune(search(), tmp_path / "other.log", 1, Workers(1))
        assert (tmp_path / "other.log").read_text() == text
    with pytest.raises(InputError, match="among the seeds"):
        search(held_out=(1,))
    with pytest.raises(InputError, match="two different metrics"):
        search(objectives=(SLO,))
    with pytest.raises(InputError, match="beta appears twice"):
        search(dimensions=(dimension("beta=0..1"), dimension("beta=1..2")))
    with pytest.raises(InputError, match="unknown field"):
        search(dimensions=(dimension("no.such=0..1"),))
    with pytest.raises(InputError, match="greater than or equal to 0"):
        search(dimensions=(dimension("beta=-1..1"),))


def test_whole_numbers_are_searched_among_whole_numbers(tmp_path: Path) -> None:
    found = tune(search(dimensions=(dimension("cluster.max_batch=8..64:log"),)), tmp_path / "study.log", 4, Workers(1))
    assert (found.trials, found.failed) == (4, 0)
    assert found.front["cluster.max_batch"].dtype.is_integer()
    with pytest.raises(InputError, match="expected whole numbers as bounds"):
        dimension("cluster.max_batch=8.5..64")


def test_why_no_trial_has_a_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trial has a result.*the first: .* is undefined"):
        tune(search(dimensions=(dimension("workload.rate_rps=1e-9..1e-8:log"),)), tmp_path / "study.log", 2, Workers(1))


def test_a_genetic_search(tmp_path: Path) -> None:
    found = tune(
        search(sampler="nsga2", dimensions=(dimension("beta=0.1..4:log"), dimension("policy=caps,edf"))),
        tmp_path / "study.log",
        9,
        Workers(1),
    )
    assert found.trials == 9
    assert set(found.front["policy.name"]) <= {"caps", "edf"}
