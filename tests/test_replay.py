"""Replayed traces: re-rated, looped, stretched, once; what the file lacks is drawn reproducibly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caps_fast.errors import InputError
from caps_fast.records import Array
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import simulate
from caps_fast.workload import workload_of

AZURE = Path(__file__).parent.parent.parent / "shared" / "data" / "requests" / "AzureLLMInferenceTrace_conv.csv"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    rows = [
        f"{second},{tokens},{tokens % 97 + 1}"
        for second, tokens in zip(range(0, 500, 5), range(100, 10_000, 99), strict=True)
    ]
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    return path


def replay(trace: Path, **changes: Any) -> Scenario:
    return preset("paper").replace(
        {"workload.trace": str(trace), "predictor.source": "declared", "workload.rate_rps": None, "days": 1200 / 86400}
        | {key.replace("__", "."): value for key, value in changes.items()}
    )


def requests(config: Scenario, size: int = 10_000) -> Array:
    return np.concatenate(list(workload_of(config).blocks(size)))


def test_loops_at_its_own_rate(trace: Path) -> None:
    rows = requests(replay(trace))
    np.testing.assert_allclose(np.diff(rows["arrival_s"]), 5.0, rtol=1e-12)
    assert len(rows) == 240
    np.testing.assert_array_equal(rows["input_tokens"][100:200], rows["input_tokens"][:100])


def test_re_rated(trace: Path) -> None:
    rows = requests(replay(trace, workload__rate_rps=2.0))
    np.testing.assert_allclose(np.diff(rows["arrival_s"]), 0.5, rtol=1e-9)
    assert len(rows) == 2400


def test_a_trace_of_which_all_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{at},10,1\n" for at in range(10)))
    learned = {"predictor__source": "learned"}
    with pytest.raises(InputError, match=r"predictor\.train_share 1: leaves nothing of .*t\.csv to replay"):
        workload_of(replay(path, predictor__train_share=1.0, **learned))
    with pytest.raises(
        InputError,
        match=r"t\.csv: its requests from 10 on, which predictor\.train_share leaves, all arrive at one time",
    ):
        workload_of(replay(path, predictor__train_share=0.95, **learned))


def test_one_moment_is_no_rate_to_loop_at(tmp_path: Path) -> None:
    path = tmp_path / "burst.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n5.0,10,1\n5.0,20,2\n")
    with pytest.raises(InputError, match=r"burst\.csv: its requests all arrive at one time.*--rate"):
        workload_of(replay(path))
    assert len(requests(replay(path, workload__trace_fit="once"))) == 2
    assert len(requests(replay(path, workload__rate_rps=0.5))) == 600


def test_stretched_over_the_horizon(trace: Path) -> None:
    rows = requests(replay(trace, workload__trace_fit="stretch"))
    assert len(rows) == 100
    np.testing.assert_allclose(rows["arrival_s"][-1], 1200 * 99 / 100)


def test_once_ends_with_the_file(trace: Path) -> None:
    rows = requests(replay(trace, workload__trace_fit="once"))
    assert len(rows) == 100
    assert rows["arrival_s"][-1] == 495.0


def test_a_looped_replay_begins_after_what_trains_the_predictor_and_says_so(trace: Path) -> None:
    whole, rest = (workload_of(replay(trace, predictor__source=source)) for source in ("declared", "learned"))
    assert whole.notes == ()
    assert rest.notes == (f"{trace}: replayed from request 31 of 100 on, because CAPS is trained on those before it",)
    np.testing.assert_array_equal(next(rest.blocks(10))["input_tokens"], next(whole.blocks(40))["input_tokens"][30:])
    assert simulate(replay(trace, predictor__source="learned", policy__name="edf")).notes[0] == rest.notes[0]


def test_categories_by_input_length(trace: Path) -> None:
    rows = requests(replay(trace))
    np.testing.assert_array_equal(rows["category"], np.digitize(rows["input_tokens"], [256, 2048]))


@given(size=st.integers(1, 300))
def test_same_requests_whatever_the_block_size(trace: Path, size: int) -> None:
    np.testing.assert_array_equal(requests(replay(trace), size), requests(replay(trace)))


@given(blocks=st.integers(1, 20))
def test_goes_on_from_a_state(trace: Path, blocks: int) -> None:
    whole = list(workload_of(replay(trace)).blocks(10))
    first, second = workload_of(replay(trace)), workload_of(replay(trace))
    source = first.blocks(10)
    for _ in range(blocks):
        next(source)
    second.restore(first.state())
    np.testing.assert_array_equal(np.concatenate(list(second.blocks(10))), np.concatenate(whole[blocks:]))


def test_what_trained_the_predictor_is_not_replayed(trace: Path) -> None:
    whole, rest = requests(replay(trace)), requests(replay(trace, predictor__source="learned"))
    learned_from = whole["input_tokens"][: int(0.3 * 100)]
    assert not set(learned_from) & set(rest["input_tokens"])
    assert len(rest) == len(whole)
    once = requests(replay(trace, predictor__source="learned", workload__trace_fit="once"))
    assert len(once) == 100, "a trace that is played once is played whole"


def test_tiers_and_tenants_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "arrival_s,input_tokens,output_tokens,tenant,tier,turns\n0,10,5,ann,gold,1\n1,10,5,bob,bronze,4\n2,10,5,ann,gold,2\n"
    )
    rows = requests(replay(path, workload__trace_fit="once"))
    assert rows["tier"].tolist() == [0, 2, 0]
    assert rows["tenant"].tolist() == [0, 1, 0]
    assert rows["turns"].tolist() == [1, 4, 2]


def test_sessions_count_turns(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,session\n0,10,5,a\n1,10,5,b\n2,10,5,a\n3,10,5,a\n")
    assert requests(replay(path, workload__trace_fit="once"))["turns"].tolist() == [1, 1, 2, 3]


def test_a_tenant_without_tier_keeps_the_one_it_draws(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "arrival_s,input_tokens,output_tokens,tenant\n" + "\n".join(f"{i},10,5,t{i % 7}" for i in range(70))
    )
    rows = requests(replay(path, workload__trace_fit="once"))
    assert all(len(set(rows["tier"][rows["tenant"] == tenant])) == 1 for tenant in range(7))


def test_lengths_only_needs_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("input_tokens,output_tokens\n10,5\n20,6\n")
    with pytest.raises(InputError, match="rate"):
        requests(replay(path))
    rows = requests(replay(path, workload__rate_rps=1.0))
    assert rows["input_tokens"][:4].tolist() == [10, 20, 10, 20]
    assert 1000 < len(rows) < 1400


def test_estimate_explains_the_declared_share(trace: Path) -> None:
    rows = requests(replay(trace, days=0.5, workload__rate_rps=1.0, workload__predictability=0.7))
    correlation = np.corrcoef(np.log(rows["predicted_tokens"]), np.log(rows["output_tokens"]))[0, 1]
    assert correlation**2 == pytest.approx(0.7, abs=0.02)


def test_request_larger_than_the_kv_capacity(trace: Path) -> None:
    with pytest.raises(InputError, match=r"kv_capacity_tokens 500: request \d+ has"):
        simulate(replay(trace, cluster__kv_capacity_tokens=500, predictor__source="declared"))


@pytest.mark.skipif(not AZURE.exists(), reason="the Azure trace is not here")
def test_azure_conversations() -> None:
    rows = requests(replay(AZURE, workload__trace_fit="once", days=0.05))
    assert len(rows) == 19366
    shares = np.bincount(rows["tier"]) / len(rows)
    np.testing.assert_allclose(shares, [0.3, 0.4, 0.3], atol=0.02)
