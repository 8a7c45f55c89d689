"""Axes and plans: ranges hold what they say, grids hold every combination once, groups share their requests, sweep
files mean what they show.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caps_fast.errors import InputError
from caps_fast.sections import Cluster
from caps_fast.simulation import workload_key
from caps_fast.sweep import Grid, check
from caps_fast.sweep.axes import Axis, axis, flatten, named, zipped
from caps_fast.sweep.estimate import estimate
from caps_fast.sweep.file import assemble, read, seed_axis
from caps_fast.sweep.space import cuts, dimension, split_at
from caps_fast.sweep.values import scalar, span, values

SWEEPS = Path(__file__).parent.parent / "sweeps"


@given(st.integers(-500, 500), st.integers(0, 60), st.integers(1, 40), st.sampled_from([1, 10, 1000]))
def test_a_range_holds_every_step_from_the_first_to_the_last_inclusive(
    first: int, steps: int, by: int, scale: int
) -> None:
    text = f"{first / scale}..{(first + steps * by) / scale}:{by / scale}"
    found = list(span(text, "x"))
    assert found == [(first + index * by) / scale for index in range(steps + 1)]


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e6), st.integers(2, 50))
def test_a_log_range_has_equal_ratios_and_exact_ends(first: float, factor: float, count: int) -> None:
    last = first * factor
    found = list(span(f"{first!r}..{last!r}:log{count}", "x"))
    assert (found[0], found[-1], len(found)) == (first, last, count)
    ratios = [after / before for before, after in itertools.pairwise(found)]
    assert ratios == pytest.approx([factor ** (1 / (count - 1))] * (count - 1), rel=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2..16", list(range(2, 17))),
        ("0..2:0.25", [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]),
        ("0..1:0.1", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("0..1:0.3", [0, 0.3, 0.6, 0.9]),
        ("5..5", [5]),
        ("1..1000:log4", [1, 10, 100, 1000]),
        ("4,8,10..12", [4, 8, 10, 11, 12]),
        ("8/8/8,6/10/8", ["8/8/8", "6/10/8"]),
        ("[0.5,0.3,0.2],[1,0,0]", [[0.5, 0.3, 0.2], [1, 0, 0]]),
        ("../traces/a.csv", ["../traces/a.csv"]),
        ("none,true,1e3,text", [None, True, 1000.0, "text"]),
        ([1, "3..5"], [1, 3, 4, 5]),
        (7, [7]),
    ],
)
def test_values(text: object, expected: list[object]) -> None:
    assert list(values(text, "x")) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("16..2", "runs backwards"),
        ("2..", "expected a..b"),
        ("..5", "expected a..b"),
        ("2..4:0", "step"),
        ("2..4:-1", "step"),
        ("2..4:x", "step"),
        ("2..4:", "step"),
        ("1..4:log1", "N from 2"),
        ("0..4:log3", "a > 0"),
        ("0..1:1e-12", "over"),
        ("2,,3", "empty value"),
        ("", "empty value"),
        ("2,2", "twice"),
        ([2, 2.0], "twice"),
        ([], "no values"),
        ("[1,2", "JSON"),
        ("1e99999999999999999999..2", "between 1e-300 and 1e300"),
        ("1..2:1e-999999999999999999", "between 1e-300 and 1e300"),
    ],
)
def test_bad_values_are_told_in_one_line(text: object, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        values(text, "--rates")
    assert str(caught.value).startswith("--rates: ")
    assert "\n" not in str(caught.value)


@given(st.text(max_size=8))
def test_any_text_is_values_or_one_clear_line(text: str) -> None:
    try:
        found = values(text, "x")
    except InputError as error:
        found = [str(error)]
        assert found[0].startswith("x: ")
    assert len(found) > 0
    scalar(text)


AXES = st.lists(
    st.sampled_from(
        [
            "workload.rate_rps",
            "policy.beta",
            "days",
            "cluster.max_batch",
            "seed",
            "slo.gold.ttft_s",
            "workload.predictability",
        ]
    ),
    unique=True,
    max_size=5,
).flatmap(
    lambda fields: st.tuples(
        *(
            st.integers(1, 4).map(lambda count, field=field: Axis(field, (field,), _points(field, count)))
            for field in fields
        )
    )
)


def _points(field: str, count: int) -> list[tuple[float]]:
    return [((index + 1) / (8 if field == "workload.predictability" else 1),) for index in range(count)]


@given(AXES, st.integers(1, 9))
def test_a_grid_is_the_product_of_its_axes_and_its_groups_share_requests(axes: tuple[Axis, ...], size: int) -> None:
    plan = assemble("grid", [Grid("", {}, axes)])
    (grid,) = plan.grids
    expected = [
        dict(zip((one.fields[0] for one in axes), (point[0] for point in row), strict=True))
        for row in itertools.product(*(a.points for a in axes))
    ]
    assert [grid.changes(index) for index in range(len(grid))] == expected
    groups = [indices for _, _, indices in plan.groups(size)]
    assert sorted(itertools.chain(*groups)) == list(range(len(grid)))
    assert all(len(indices) <= size for indices in groups)
    for indices in groups:
        assert len({workload_key(plan.scenario(grid, index)) for index in indices}) == 1
    requests = [plan.expected_requests(grid, index) for index in range(len(grid))]
    assert plan.requests() == pytest.approx(sum(requests))
    first = [requests[indices[0]] for indices in groups]
    assert first == sorted(first, reverse=True)


def test_seeds_are_common_along_all_axes_but_the_fresh_ones() -> None:
    axes = (axis("rate", [4, 8, 12], "x"), axis("beta", [0, 1], "x"), seed_axis(3, "x"))
    common = Grid("", {}, axes)
    assert {common.changes(index)["seed"] for index in range(len(common))} == {0, 1, 2}
    fresh = Grid("", {}, axes, fresh=("rate",))
    seeds = {
        rate: {
            fresh.changes(index)["seed"]
            for index in range(len(fresh))
            if fresh.changes(index)["workload.rate_rps"] == rate
        }
        for rate in (4, 8, 12)
    }
    assert seeds == {4: {0, 1, 2}, 8: {3, 4, 5}, 12: {6, 7, 8}}
    with pytest.raises(InputError, match="unknown axis"):
        Grid("", {}, axes, fresh=("split",))
    with pytest.raises(InputError, match="expected seeds"):
        Grid("", {}, axes[:1], fresh=("rate",))


@pytest.mark.parametrize(
    ("raw", "seeds"), [(3, [0, 1, 2]), ("3", [0, 1, 2]), ("3..5", [3, 4, 5]), ("7,9", [7, 9]), ([4], [4])]
)
def test_seeds(raw: object, seeds: list[int]) -> None:
    assert [point[0] for point in seed_axis(raw, "x").points] == seeds


@pytest.mark.parametrize("raw", [0, "0", -1, "x", "1.5,2", "-3..2", True])
def test_bad_seeds(raw: object) -> None:
    with pytest.raises(InputError, match="--seeds"):
        seed_axis(raw, "--seeds")


def test_zips_and_named_settings() -> None:
    pair = zipped({"alpha": [1, 2, 3], "beta": "0..1:0.5"}, "x")
    assert [pair.at(index) for index in range(3)] == [
        {"policy.alpha": a, "policy.beta": b} for a, b in ((1, 0), (2, 0.5), (3, 1))
    ]
    with pytest.raises(InputError, match="alpha has 2, beta has 1"):
        zipped({"alpha": [1, 2], "beta": [1]}, "x")
    tiers = named("slo", {"tight": {"slo": {"gold": {"ttft_s": 0.3}}}, "loose": {"slo.gold.ttft_s": 1.0}}, "x")
    assert (tiers.labels, tiers.at(1)) == (("tight", "loose"), {"slo.gold.ttft_s": 1.0})
    with pytest.raises(InputError, match="as in the first"):
        named("slo", {"tight": {"slo.gold.ttft_s": 0.3}, "loose": {"slo.silver.ttft_s": 1.0}}, "x")
    for taken in ("policy", "slo_attainment", "requests", "seeds", "slo.gold.ttft_s", "input_hashes"):
        with pytest.raises(InputError, match="column of the results"):
            named(taken, {"a": {"beta": 1}}, "x")
    assert flatten({"a": {"b": {"c": 1}}, "d.e": 2}) == {"a.b.c": 1, "d.e": 2}


@pytest.mark.parametrize(("name", "runs"), [("paper", 375), ("splits", 120), ("weights", 513), ("ablation", 200)])
def test_the_sweeps_that_come_with_the_project(name: str, runs: int) -> None:
    plan = read(SWEEPS / f"{name}.toml")
    check(plan)
    assert (plan.name, len(plan)) == (name, runs)
    assert sum(len(indices) for _, _, indices in plan.groups()) == runs


FILE = """
title = "all forms"
seeds = "1..2"
fresh_seeds = ["rate"]
[set]
days = 0.01
predictor.source = "declared"
[axes]
rate = [4, 8]
policy = ["main", "caps-no-carbon"]
[[zip]]
alpha = [1, 2]
"policy.beta" = [0.5, 1]
[named.slo.tight]
slo.gold.ttft_s = 0.3
[named.slo.loose]
slo.gold.ttft_s = 1
[groups.one]
[groups.two]
set.policy = "edf"
axes.split = ["8/8/8", "6/10/8"]
"""


def test_a_file_with_every_form(tmp_path: Path) -> None:
    path = tmp_path / "forms.toml"
    path.write_text(FILE)
    plan = read(path)
    one, two = plan.grids
    assert (len(one), len(two)) == (2 * 6 * 2 * 2 * 2, 2 * 2 * 2 * 2 * 2)
    assert two.fixed == {"days": 0.01, "predictor.source": "declared", "policy.name": "edf"}
    assert one.labels(0) == {"slo": "tight"}
    config = plan.scenario(two, len(two) - 1)
    assert (config.policy.name, config.cluster.split, config.policy.beta, config.slo.gold.ttft_s, config.days) == (
        "edf",
        "6/10/8",
        1,
        1,
        0.01,
    )
    assert config.seed == 5
    check(plan)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("axes = 3", "axes"),
        ("bogus = 3", "unknown key"),
        ("[axes]\nrate = '9..2'", "runs backwards"),
        ("[axes]\nrate = [0]", "greater than 0"),
        ("[axes]\nrate = [4, 0]", "rate: .*greater than 0"),
        ("[axes]\nsplit = ['8/8/8', '8/8/9']", "sums to 25"),
        ("[axes]\npolicy = 'nope'", "expected some of round-robin"),
        ("[axes]\n'no.such' = [1]", "unknown field"),
        ("[axes]\nrate = [4]\n[set]\nrate = 5", "set twice"),
        ("seeds = 0", "one seed"),
        ("preset = 'nope'", "preset 'nope'"),
        ("scenario = 'nope.toml'", "cannot be read"),
        ("scenario = 'nope.toml'\npreset = 'paper'", "expected one of them"),
        ("zip = 3", "zip"),
        ("fresh_seeds = 3", "list"),
        ("not toml", "not TOML"),
        ("[set]\n'carbon.file' = 'nope.csv'", "nope.csv"),
    ],
)
def test_bad_files_are_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        check(read(path))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_presets_are_an_axis(tmp_path: Path) -> None:
    path = tmp_path / "presets.toml"
    path.write_text("[axes]\npreset = ['paper', 'measured']\nrate = [4]")
    plan = read(path)
    check(plan)
    made = [plan.scenario(plan.grids[0], index) for index in range(2)]
    assert [config.preset for config in made] == ["paper", "measured"]
    assert made[0].gpu != made[1].gpu
    assert {config.workload.rate_rps for config in made} == {4}


def test_a_million_runs_are_planned_in_no_time() -> None:
    axes = (
        axis("rate", "1..100", ""),
        axis("alpha", "1..10", ""),
        axis("beta", "1..10", ""),
        axis("lambda", "1..10", ""),
        seed_axis(10, ""),
    )
    start_s = time.process_time()
    plan = assemble("grid", [Grid("", {}, axes)])
    check(plan)
    found = estimate(plan, 2)
    assert time.process_time() - start_s < 2
    assert (found.runs, found.requests) == (10**6, 10**4 * 7 * 86400.0 * 5050)
    first = next(iter(plan.groups()))
    assert len(first[2]) == 8


@given(st.lists(st.integers(1, 30), min_size=2, max_size=4))
def test_every_split_can_be_searched(sizes: list[int]) -> None:
    cluster = Cluster(
        gpus=sum(sizes), split="/".join(map(str, sizes)), roles="/".join(["LP", "CP", "BP", "BP"][: len(sizes)])
    )
    assert split_at(cuts(cluster.pools), cluster.gpus) == cluster.split


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(5, 100))
def test_any_shares_are_a_split(shares: list[float], gpus: int) -> None:
    sizes = [int(part) for part in split_at(shares, gpus).split("/")]
    assert (sum(sizes), len(sizes)) == (gpus, len(shares) + 1)
    assert min(sizes) >= 1


@pytest.mark.parametrize("text", ["beta", "beta=4..1", "beta=0..4:log", "beta=1..4:0.5", "beta=..4", "beta="])
def test_bad_dimensions(text: str) -> None:
    with pytest.raises(InputError, match="search"):
        dimension(text)
