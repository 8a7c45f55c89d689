"""Reports: figures show what the tables hold, the page works by itself in a real browser, and no text from the
results can become code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from matplotlib.figure import Figure
from typer.testing import CliRunner

from caps_fast.cli import report as commands
from caps_fast.errors import InputError
from caps_fast.policies import MAIN
from caps_fast.report import figures, rate_curves
from caps_fast.report.folder import read_folder
from caps_fast.report.rates import rate_figure
from caps_fast.report.style import COLOURS, colour_of, span_of
from caps_fast.report.tables import quantity
from caps_fast.report.write import all_figures, write_report
from caps_fast.sweep.alike import alike, alike_at_one_rate, choices
from report_folders import folder_of, runs_of, tables_of


def lines_of(figure: Figure, panel: int) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[panel].lines
    }


def test_rate_curves_show_means_and_the_spread_over_seeds() -> None:
    runs = runs_of()
    figure = rate_figure(runs)
    assert len(figure.axes) == 3
    for panel, (metric, scale) in enumerate(
        [("slo_attainment", 1.0), ("carbon_g_per_1k_tokens", 1.0), ("ttft_after_release_p95_s", 1000.0)]
    ):
        lines = lines_of(figure, panel)
        assert list(lines) == ["Round Robin", "EDF", "SLO-Aware", "Carbon-Aware", "CAPS"]
        caps = runs.filter(pl.col("policy") == "caps").group_by("rate_rps").agg(pl.col(metric).mean()).sort("rate_rps")
        assert lines["CAPS"][0] == [2.0, 10.0, 16.0]
        assert lines["CAPS"][1] == pytest.approx((scale * caps[metric]).to_list())
        band = figure.axes[panel].collections[-1].get_paths()[0].vertices[:, 1]
        mine = runs.filter(pl.col("policy") == "caps")[metric]
        assert (band.min(), band.max()) == pytest.approx((scale * mine.min(), scale * mine.max()))  # type: ignore[operator]


@pytest.mark.parametrize("form", [".png", ".svg", ".pdf"])
def test_rate_curves_are_written_whole_and_the_same_every_time(tmp_path: Path, form: str) -> None:
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[form]
    contents = []
    for name in ("one", "two"):
        rate_curves(runs_of(), tmp_path / f"{name}{form}")
        contents.append((tmp_path / f"{name}{form}").read_bytes())
    assert contents[0].startswith(begins)
    assert contents[0] == contents[1]
    assert len(list(tmp_path.iterdir())) == 2


def test_pictures_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rates\.gif: picture: expected a name ending in"):
        rate_curves(runs_of(), tmp_path / "rates.gif")
    with pytest.raises(InputError, match="one rate only"):
        rate_curves(runs_of(rates=(4.0,)), tmp_path / "rates.png")
    with pytest.raises(InputError, match="cannot be written"):
        rate_curves(runs_of(), tmp_path / "nowhere" / "rates.png")


def test_like_is_compared_with_like() -> None:
    main = runs_of()
    other = runs_of(rates=(10.0,)).with_columns(pl.lit("6/10/8").alias("split"), pl.col("slo_attainment") * 0)
    assert (
        alike(pl.concat([other, main]))
        .runs.sort("policy", "rate_rps", "seed")
        .equals(main.sort("policy", "rate_rps", "seed"))
    )
    longer = runs_of((*MAIN, "caps-no-carbon"), rates=(10.0,)).with_columns(pl.lit(7.0).alias("days"))
    assert alike_at_one_rate(pl.concat([main, longer])).runs["days"].unique().to_list() == [7.0]


def test_a_report_shows_one_setting_and_says_which(tmp_path: Path) -> None:
    """In the table, the charts and the figures alike: the preset's among values with as many runs, else the first
    in order.
    """
    shade = pl.col("slo_attainment")
    several = [
        runs_of().with_columns(
            pl.lit(beta).alias("beta"), pl.lit(batch).alias("cluster.max_batch"), shade - beta / 10 - batch / 100
        )
        for beta in (0.0, 0.5, 1.0)
        for batch in (7, 6)
    ]
    for order in (several, several[::-1]):
        runs = pl.concat(order)
        shown = runs.filter(pl.col("beta") == 0.5, pl.col("cluster.max_batch") == 6)
        found = alike(runs)
        assert found.runs.equals(shown)
        assert found.choice == "beta 0.5 (of 0, 0.5, 1), cluster.max_batch 6 (of 6, 7)"
        assert alike_at_one_rate(runs).runs.equals(shown.filter(pl.col("rate_rps") == 10))
        runs.write_parquet(tmp_path / "runs.parquet")
        page = write_report(tmp_path)[-1].read_text(encoding="utf-8")
        assert page.count(f"one value is shown: {found.choice}.") == 2
        assert page.count(f"preset paper, {found.choice}") == 4
        assert page.count("The SLO-carbon plane at 10 requests per second") == 2
        caps = shown.filter(pl.col("policy") == "caps", pl.col("rate_rps") == 10)["slo_attainment"].mean()
        assert f'<td class="n">{caps:.1%}</td>' in page
        assert f'"slo_attainment":{caps:.7g}' in page
        assert lines_of(rate_figure(runs), 0)["CAPS"][1][1] == pytest.approx(caps)
    both = pl.concat(
        [runs, runs_of(preset="measured").with_columns(beta=0.5, **{"cluster.max_batch": pl.lit(64, pl.Int32)})]
    )
    assert choices(both) == f"{found.choice}, preset paper"


def test_the_plane_has_a_point_a_policy() -> None:
    runs = alike_at_one_rate(runs_of()).runs
    points = figures.plane(runs).axes[0].containers
    assert [point.get_label() for point in points] == ["Round Robin", "EDF", "SLO-Aware", "Carbon-Aware", "CAPS"]
    for policy, point in zip(MAIN, points, strict=True):
        own = runs.filter(pl.col("policy") == policy)
        x, y = point.lines[0].get_data()
        assert (x[0], y[0]) == pytest.approx((own["carbon_g_per_1k_tokens"].mean(), own["slo_attainment"].mean()))


def test_cells_print_every_saving() -> None:
    figure = figures.cells(tables_of()["savings"])
    printed = [text.get_text() for axes in figure.axes[:3] for text in axes.texts]
    assert sorted(printed, key=float) == [f"{value}.0" for value in range(27)]
    assert figure.axes[2].get_title(loc="left") == "high carbon at arrival"


def test_sources_and_timelines_and_latencies_show_their_data() -> None:
    tables = tables_of()
    bars = figures.sources(tables["decomposition"]).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == [
        "CAPS: total",
        "CAPS: shifting",
        "CAPS: packing",
        "CAPS: rest",
        "bound: at once",
    ]
    assert [patch.get_width() for patch in bars.patches] == [0.1, 0.1, 0.1, 0.1, 0.5]
    timeline = figures.timeline(tables["series"])
    assert lines_of(timeline, 1)["pool 2, CP"][1] == pytest.approx([0.801] * 48)
    assert lines_of(timeline, 2)["pool 3, BP"][1] == [10 * at for at in range(48)]
    unit_s, unit = span_of(tables["series"]["t_s"].max())
    assert timeline.axes[3].get_xlabel() == unit
    assert lines_of(timeline, 2)["pool 3, BP"][0] == pytest.approx((tables["series"]["t_s"].unique() / unit_s).sort())
    longer = figures.latencies(tables["histograms"]).axes[0].lines[0].get_ydata()
    assert longer[0] == pytest.approx(1 - 100 / sum(100 - 10 * at for at in range(8)))
    assert np.all(np.diff(longer) <= 0)


def test_policies_can_be_told_apart() -> None:
    policies = [*COLOURS, "mine", "yours", "theirs"]
    assert len({colour_of(policy, policies) for policy in policies}) == len(policies)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.268, "%", "26.8 %"),
        (-0.014, "points", "-1.4 points"),
        (None, "%", "-"),
        (float("nan"), "ms", "-"),
        (14.5, "g", "14.5 g"),
        (1020.0, "ms", "1,020 ms"),
    ],
)
def test_quantities(value: float | None, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


def test_a_plain_sweep_gets_curves_and_a_page(tmp_path: Path) -> None:
    written = write_report(folder_of(tmp_path / "sweep", whole=False))
    assert sorted(path.name for path in written) == [
        "plane-paper.png",
        "plane-paper.svg",
        "rates-paper.png",
        "rates-paper.svg",
        "report.html",
    ]
    page = written[-1].read_text(encoding="utf-8")
    assert "What the paper says" not in page
    assert "workload.trace" in page


def test_runs_whose_trace_sets_the_rate_get_a_page_too(tmp_path: Path) -> None:
    runs_of(rates=(4.0,)).with_columns(rate_rps=pl.lit(None, pl.Float64)).write_parquet(tmp_path / "runs.parquet")
    assert [path.name for path in write_report(tmp_path)] == ["plane-paper.png", "plane-paper.svg", "report.html"]


def test_a_folder_of_parts_will_do(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    runs = runs_of()
    runs.head(15).write_parquet(tmp_path / "parts" / "a.parquet")
    runs.tail(15).write_parquet(tmp_path / "parts" / "b.parquet")
    assert read_folder(tmp_path).runs.equals(runs)


def test_what_is_no_result_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"no runs; expected runs\.parquet"):
        read_folder(tmp_path)
    (tmp_path / "runs.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(InputError, match="the file is truncated"):
        read_folder(tmp_path)
    runs_of().head(0).write_parquet(tmp_path / "runs.parquet")
    with pytest.raises(InputError, match="no rows"):
        read_folder(tmp_path)
    runs_of().write_parquet(tmp_path / "runs.parquet")
    tables_of()["claims"].drop("why").write_parquet(tmp_path / "claims.parquet")
    with pytest.raises(InputError, match="column why is missing"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("file", "column", "value", "wanted"),
    [
        ("runs", "policy", 1.0, "text"),
        ("runs", "rate_rps", "ten", "numbers"),
        ("runs", "slo_attainment", None, "numbers"),
        ("claims", "low", "little", "numbers"),
        ("series", "open", 1.0, "true or false"),
        ("histograms", "tier", 2, "text"),
    ],
)
def test_columns_of_other_types_are_refused(file: str, column: str, value: object, wanted: str, tmp_path: Path) -> None:
    for name, frame in {"runs": runs_of(), **tables_of()}.items():
        changed = frame.with_columns(pl.lit(value).alias(column)) if name == file else frame
        changed.write_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=rf"{file}\.parquet: column {column} is of type .*: expected {wanted}"):
        read_folder(tmp_path)


def test_a_run_without_a_policy_is_told(tmp_path: Path) -> None:
    runs = runs_of()
    second = pl.when(pl.int_range(pl.len()) == 1).then(None).otherwise("policy")
    runs.with_columns(policy=second).write_parquet(tmp_path / "runs.parquet")
    with pytest.raises(InputError, match=r"runs\.parquet: row 2: column policy is empty"):
        read_folder(tmp_path)


def test_the_command(tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    commands.register(app)
    folder = folder_of(tmp_path / "results")
    result = CliRunner().invoke(
        app, ["report", str(folder), "--out", str(tmp_path / "elsewhere")], catch_exceptions=False
    )
    assert result.exit_code == 0
    names = {path.name for path in (tmp_path / "elsewhere").iterdir()}
    kinds = ("rates", "plane", "cells", "sources", "timeline", "latencies")
    assert names == {"report.html", *(f"{kind}-paper{form}" for kind in kinds for form in (".png", ".svg"))}
    assert set(all_figures(read_folder(folder))) == {f"{kind}-paper" for kind in kinds}
