"""What the predictor may know: only the past; and its tables: LightGBM to the last bits."""

from __future__ import annotations

import itertools
import math

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caps_fast import scenario
from caps_fast._jit import kernel
from caps_fast.arrays import REQUEST, Array
from caps_fast.errors import InputError
from caps_fast.policies.risk import Load, Risk, bin_of, guide_to, odds, request_bins
from caps_fast.predictor import Lengths, forest, train, warmup_requests
from caps_fast.predictor.explore import BLOCK, RISK_FEATURES, blocks_of
from caps_fast.predictor.features import LENGTH_FEATURES, Histories
from caps_fast.predictor.forest import fit, look_up, padded, tabulate
from caps_fast.predictor.length import LengthModel
from caps_fast.predictor.risk import BINS, GROUPS, RiskModel
from caps_fast.predictor.scores import auroc, coverage, earlier_medians, length_errors, reliability, risk_scores
from caps_fast.workload.synthetic import TASKS, SyntheticWorkload
from caps_fast.workload.tasks import task_of_prompt, tasks_of_prompts

SMALL = scenario.preset("measured").replace({"predictor.train_requests": 4000, "workload.tenants": 12})
ODD = [0.0, -0.0, 1e-35, -1e-35, 1e-300, math.inf, -math.inf, math.nan, 1e300, -1.0, 7.0, 1e9]


def requests(count: int = 4000, rate_rps: float = 2.0, seed: int = 5) -> Array:
    config = SMALL.replace({"workload.rate_rps": rate_rps, "seed": seed})
    return next(SyntheticWorkload(config).blocks(count))


@pytest.fixture(scope="module")
def lessons() -> train.Lessons:
    return train.lessons_of(SMALL)


@pytest.fixture(scope="module")
def lengths(lessons: train.Lessons) -> LengthModel:
    return train.train_length(lessons)[0]


@pytest.fixture(scope="module")
def risky() -> tuple[RiskModel, Array]:
    """A risk model of made-up outcomes, and its rows."""
    rng = np.random.default_rng(1)
    count = 20_000
    columns = [
        rng.integers(0, 4, count),
        rng.integers(0, 3, count),
        rng.integers(0, 3, count),
        np.exp(rng.uniform(0, 9, count)).astype(int),
    ]
    columns += [
        np.exp(rng.normal(4.8, 1.1, count)),
        rng.exponential(1.0, count),
        rng.exponential(0.5, count),
        np.exp(rng.uniform(0, 10, count)),
    ]
    rows = np.column_stack([column.astype(float) for column in columns])
    odds = (
        rows[:, 5] * (1 + rows[:, 0])
        + np.log(rows[:, 7])
        - 7
        + (rows[:, 1] == 2)
        + rows[:, 2] * np.log1p(rows[:, 3]) / 9
    )
    missed = rng.random(count) < 1 / (1 + np.exp(-odds))
    return RiskModel(tabulate(fit(rows, missed, RISK_FEATURES, GROUPS, BINS, "binary"), GROUPS)), rows


# ------------------------------------------------ only the past


@given(at=st.integers(0, 3999), lag_s=st.sampled_from([0.0, 30.0, 600.0]))
@settings(max_examples=25)
def test_features_know_nothing_of_later_answers(at: int, lag_s: float) -> None:
    block = requests()
    changed = block.copy()
    unknown = changed["arrival_s"] > block["arrival_s"][at] - lag_s
    if lag_s == 0.0:
        unknown[:at] = False
    changed["output_tokens"][unknown] = 9999
    assert Histories(lag_s).rows(block)[: at + 1].tolist() == Histories(lag_s).rows(changed)[: at + 1].tolist()


def test_features_do_know_what_has_been_answered() -> None:
    block = requests()
    changed = block.copy()
    changed["output_tokens"][:100] *= 5
    assert (Histories(60.0).rows(block)[2000:, 3] != Histories(60.0).rows(changed)[2000:, 3]).any()


def test_predictions_know_nothing_of_own_and_later_answers(lengths: LengthModel) -> None:
    block = requests()
    changed = block.copy()
    changed["output_tokens"][2000:] = 9999
    assert (
        Lengths(lengths)(block)["predicted_tokens"][:2001].tolist()
        == Lengths(lengths)(changed)["predicted_tokens"][:2001].tolist()
    )


@pytest.mark.parametrize("size", [1, 7, 1000, 4000])
def test_blocks_do_not_matter(lengths: LengthModel, size: int) -> None:
    block = requests()
    whole = Lengths(lengths)(block)
    stream = Lengths(lengths)
    parts = np.concatenate([stream(block[at : at + size]) for at in range(0, len(block), size)])
    assert (parts == whole).all()
    histories = Histories(lengths.lag_s)
    rows = np.concatenate([histories.rows(block[at : at + size]) for at in range(0, len(block), size)])
    assert rows.tolist() == Histories(lengths.lag_s).rows(block).tolist()


@pytest.mark.parametrize(("lag_s", "refresh_s"), [(0.0, 0.0), (60.0, 3.0)])
def test_history_is_that_of_plain_python(lag_s: float, refresh_s: float) -> None:
    block = requests(600)
    rows = Histories(lag_s).rows(block)
    for i in range(0, 600, 37):
        now = block[i]
        until_s = now["arrival_s"] - lag_s
        if refresh_s:
            until_s -= until_s % refresh_s
        known = block[:i][block["arrival_s"][:i] <= until_s]
        logs = np.log(known["output_tokens"])
        wide, narrow = (
            known["tenant"] == now["tenant"],
            (known["tenant"] == now["tenant"]) & (known["task"] == now["task"]),
        )
        mean = (logs[wide].sum() + 5 * (logs.mean() if len(logs) else 0)) / (wide.sum() + 5)
        mean = (logs[narrow].sum() + 5 * mean) / (narrow.sum() + 5)
        expected = [
            now["input_tokens"],
            now["turns"],
            now["task"],
            mean,
            logs[narrow].std() if narrow.any() else 0,
            narrow.sum(),
        ]
        np.testing.assert_allclose(rows[i], expected, rtol=1e-6, atol=1e-6)


def test_training_days_end_before_the_evaluated_ones_begin() -> None:
    days = [np.concatenate(list(blocks)) for blocks in train.worlds(SMALL)]
    assert len(days) == train.WORLDS
    for seed in (0, 3):
        config = SMALL.replace({"seed": seed, "days": 0.05})
        run = np.concatenate(list(SyntheticWorkload(config).blocks(1000)))
        assert run["arrival_s"].min() >= 0
        past = np.concatenate(list(warmup_requests(config)))
        for before in (*days, past):
            assert before["arrival_s"].min() >= -SMALL.predictor.train_days * 86400
            assert before["arrival_s"].max() < 0
            shared = np.intersect1d(before["predicted_tokens"], run["predicted_tokens"])
            assert len(shared) < 3, "other days, other requests"


def test_parts_follow_one_another(lessons: train.Lessons) -> None:
    ends = np.flatnonzero(np.diff(lessons.requests["arrival_s"]) < 0) + 1
    for world in np.split(np.arange(len(lessons.part)), ends):
        assert (np.diff(lessons.part[world]) >= 0).all()
        np.testing.assert_allclose(
            [(lessons.part[world] == part).mean() for part in range(3)], [0.8, 0.1, 0.1], atol=0.01
        )
    assert abs(len(lessons.rows) / SMALL.predictor.train_requests - 1) < 0.05


# ------------------------------------------------ tables


def lightgbm(model: RiskModel | LengthModel) -> lgb.Booster:
    return lgb.Booster(model_str=model.forest.text if isinstance(model, RiskModel) else model.median.text)


def adversarial(rows: Array, edges: list[Array], rng: np.random.Generator, count: int = 20_000) -> Array:
    """Rows mixed of seen values, bin edges and their neighbours, and odd ones."""
    mixed = np.empty((count, rows.shape[1]))
    for feature, values in enumerate(edges):
        pools = [rows[:, feature], np.array(ODD)]
        if len(values):
            pools += [values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf)]
        pool = rng.integers(0, len(pools), count)
        mixed[:, feature] = np.choose(pool, [rng.choice(values, count) for values in pools])
    return mixed


def test_risk_tables_are_lightgbm(risky: tuple[RiskModel, Array]) -> None:
    model, rows = risky
    odd = adversarial(rows, model.forest.edges, np.random.default_rng(2))
    for tried in (rows, odd):
        expected = lightgbm(model).predict(tried, raw_score=True, num_threads=1)
        np.testing.assert_allclose(look_up(tried, model.forest), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            model.predict(tried), lightgbm(model).predict(tried, num_threads=1), rtol=0, atol=1e-12
        )


def test_length_tables_are_lightgbm(lengths: LengthModel, lessons: train.Lessons) -> None:
    for name in ("median", "low", "high"):
        tables = getattr(lengths, name)
        booster = lgb.Booster(model_str=tables.text)
        for tried in (lessons.rows, adversarial(lessons.rows, tables.edges, np.random.default_rng(3))):
            np.testing.assert_allclose(
                look_up(tried, tables), booster.predict(tried, num_threads=1), rtol=0, atol=1e-12
            )


def test_the_pass_over_blocks_is_lightgbm(lengths: LengthModel) -> None:
    block = requests()
    block["turns"][::7] = 32_000
    block["input_tokens"][::11] = 2**31 - 1
    block["input_tokens"][1::11] = 0
    block["task"][::5] = len(TASKS) - 1
    expected = np.maximum(np.exp(lightgbm(lengths).predict(Histories(lengths.lag_s).rows(block), num_threads=1)), 1.0)
    np.testing.assert_allclose(Lengths(lengths)(block)["predicted_tokens"], expected, rtol=1e-12)


def test_the_kernel_lookup_is_lightgbm(risky: tuple[RiskModel, Array]) -> None:
    model, rows = risky
    tables = model.arrays()
    odd = adversarial(rows, model.forest.edges, np.random.default_rng(4), 2000)
    odd = np.concatenate([rows[:1000], odd])
    odd[:, :3] = np.concatenate([rows[:1000, :3], rows[-len(odd) + 1000 :, :3]])
    odd = odd[~np.isnan(odd).any(axis=1)]
    expected = lightgbm(model).predict(odd, raw_score=True, num_threads=1)
    found = np.empty(len(odd))
    kernel_odds(tables, odd, found)
    np.testing.assert_allclose(np.log(found), expected, rtol=0, atol=1e-12)


@kernel
def kernel_odds(tables: Risk, rows: Array, found: Array) -> None:
    for i in range(len(rows)):
        row = rows[i]
        bins = request_bins(tables, row[3], row[4])
        found[i] = odds(tables, int(row[0]), int(row[1]), bins, 0, Load(int(row[2]), row[5], row[6], row[7]))


@kernel
def kernel_bin_of(edges: Array, guide: Array, value: float) -> int:
    return bin_of(edges, guide, 0, value)


@given(edges=st.lists(st.floats(-1e6, 1e6), max_size=40, unique=True), value=st.floats(allow_nan=False))
def test_bin_is_the_number_of_edges_below(edges: list[float], value: float) -> None:
    tables = padded([np.array(sorted(edges)), np.zeros(1)])
    assert kernel_bin_of(tables, guide_to(tables), value) == np.searchsorted(sorted(edges), value)


def test_training_twice_gives_the_same_bits(lessons: train.Lessons, lengths: LengthModel) -> None:
    again, _ = train.train_length(train.lessons_of(SMALL))
    assert again.median.text == lengths.median.text
    assert again.high.text == lengths.high.text
    assert again.widen == lengths.widen


def test_threads_do_not_change_the_model(lessons: train.Lessons, lengths: LengthModel) -> None:
    part = lessons.part == 0
    two = fit(
        lessons.rows[part],
        lessons.log_tokens[part],
        LENGTH_FEATURES,
        lengths.median.groups,
        train.length.BINS,
        "regression",
        num_threads=2,
    )
    np.testing.assert_array_equal(
        look_up(lessons.rows, tabulate(two, lengths.median.groups)), look_up(lessons.rows, lengths.median)
    )


def test_a_forest_that_leaves_its_groups_is_refused(lessons: train.Lessons) -> None:
    free = [list(range(len(LENGTH_FEATURES)))]
    model = fit(lessons.rows, lessons.log_tokens, LENGTH_FEATURES, free, train.length.BINS, "regression")
    with pytest.raises(InputError, match="expected those of one group"):
        tabulate(model, train.length.GROUPS)
    assert (forest.TREES, forest.DEPTH) == (64, 6)
    assert len(model.dump_model()["tree_info"]) == 64


# ------------------------------------------------ quality


def test_lengths_are_learned(lessons: train.Lessons) -> None:
    """Most of what can be known is, from few requests; the interval holds four fifths."""
    _, scores = train.train_length(lessons)
    assert scores["declared"]["mape"] < scores["model"]["mape"] < 0.5
    assert (
        scores["model"]["mae_tokens"] < scores["tenant_median"]["mae_tokens"] < scores["constant_median"]["mae_tokens"]
    )
    assert 0.7 < scores["coverage"] < 0.9


def test_interval_lies_around_the_median(lengths: LengthModel, lessons: train.Lessons) -> None:
    low, high = lengths.interval(lessons.rows)
    median = lengths.predict(lessons.rows)
    assert (low <= high).all()
    assert ((low <= median) & (median <= high)).mean() > 0.97


def test_scores_by_hand() -> None:
    happened = np.array([True, False, True, False])
    assert auroc(np.array([0.9, 0.1, 0.8, 0.2]), happened) == 1.0
    assert auroc(np.full(4, 0.5), happened) == 0.5
    assert auroc(np.array([0.3, 0.4, 0.6, 0.2]), happened) == 0.75
    assert math.isnan(auroc(np.ones(2), np.ones(2, bool)))
    assert length_errors(np.array([10.0, 30.0]), np.array([20, 20])) == {"mae_tokens": 10.0, "mape": 0.5}
    assert coverage(np.array([1, 1]), np.array([2, 2]), np.array([2, 3])) == 0.5
    curve = reliability(np.array([0.05, 0.07, 1.0]), np.array([False, True, True]))
    assert curve == [
        {"cases": 2, "predicted": pytest.approx(0.06), "happened": 0.5},
        {"cases": 1, "predicted": 1.0, "happened": 1.0},
    ]
    assert risk_scores(np.array([0.0, 1.0]), np.array([False, True]))["calibration_error"] == 0.0
    assert earlier_medians(np.array([0, 0, 1, 0]), np.array([10, 20, 5, 9])).tolist() == [1.0, 10.0, 15.0, 15.0]


# ------------------------------------------------ tasks


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("You are a senior Python developer. Debug the following function.", "code"),
        ("Classify the sentiment of the review. Answer with one word.", "classification"),
        ("Write a story about two brothers who open a bakery.", "generation"),
        ("Is the following e-mail spam? Yes or no.", "classification"),
        ("Summarise this meeting in one paragraph", "generation"),
        ("Refactor this C++ code", "code"),
        ("ingredients and scriptures", "unknown"),
        ("", "unknown"),
        ("고등교육의 필요성", "unknown"),
        (" " * 700 + "python", "unknown"),
    ],
)
def test_task_by_keywords(text: str, task: str) -> None:
    assert TASKS[task_of_prompt(text)] == task


def test_tasks_of_many_texts() -> None:
    texts = ["python code", "", "PYTHON CODE", "python code"]
    assert tasks_of_prompts(texts).tolist() == [task_of_prompt(text) for text in texts]
    assert tasks_of_prompts([]).tolist() == []


def test_no_requests_is_no_trouble(lengths: LengthModel) -> None:
    nothing = np.zeros(0, REQUEST)
    assert len(Lengths(lengths)(nothing)) == 0
    assert Histories(1.0).rows(nothing).shape == (0, len(LENGTH_FEATURES))


@given(
    sizes=st.lists(st.sampled_from([1, 2, 7, 500, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]), max_size=12),
    spread=st.booleans(),
)
def test_exploring_keeps_those_that_arrive_together_in_one_block(sizes: list[int], spread: bool) -> None:
    """Bursts of all sizes; `spread` puts single arrivals between them."""
    sizes = [size for one in sizes for size in ((1, one) if spread else (one,))]
    requests = np.zeros(sum(sizes), REQUEST)
    requests["arrival_s"] = np.repeat(np.arange(len(sizes)), sizes)
    requests["tenant"] = np.arange(len(requests))
    found = list(blocks_of(requests))
    assert [tenant for block, _ in found for tenant in block["tenant"].tolist()] == requests["tenant"].tolist()
    for (block, until_s), (after, _) in itertools.pairwise(found):
        assert block["arrival_s"][-1] < until_s == after["arrival_s"][0]
        assert len(block) <= BLOCK or len(set(block["arrival_s"])) == 1
    assert not found or found[-1][1] == math.inf
