"""The page of a report: what it says is what the data say, and everybody can read it: by keyboard, aloud, on a
phone, in the dark.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.patches import StepPatch

from caps_fast import load
from caps_fast.errors import InputError
from caps_fast.metrics import BILL
from caps_fast.report import bill, regions, states, summary, write_page, write_report
from caps_fast.report.folder import results_of
from caps_fast.results import Result
from caps_fast.simulation import Recording, simulate
from caps_fast.sweep.alike import alike
from caps_fast.sweep.compare import compare
from page_outline import expect_readable
from page_runs import BROWSER, SPY, series_of
from report_folders import folder_of
from test_report_words import runs_of

SMALL = """
preset = "paper"
days = 0.1
[predictor]
source = "declared"
[workload]
rate_rps = 3.0
[gpu]
off_w = 5.0
start_s = 60.0
stop_s = 4.0
host_w = 200.0
embodied_kg = 150.0
[regions.grid]
pue = 1.25
price_per_kwh = 0.1
water_l_per_kwh = 1.8
[policy]
name = "edf"
queueing = "central"
scale_every_s = 30.0
off_after_s = 120.0
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """A fixed fleet, and one that scales, on the same requests of two seeds; states, hosts, PUE, prices, embodied
    carbon.
    """
    file = tmp_path_factory.mktemp("page") / "small.toml"
    file.write_text(SMALL, encoding="utf-8")
    fixed = load(file)
    rule = fixed.replace({"policy.scaling": "autoscale", "policy.options": {"window_s": 60.0}})
    return [
        simulate(one.replace({"seed": seed}), Recording(sample_every_s=60.0))
        for seed in (0, 1)
        for one in (fixed, rule)
    ]


def test_the_bill_adds_up(ran: list[Result]) -> None:
    runs = results_of(ran).runs
    found = bill.bill_by_policy(runs)
    assert found is not None
    assert found["policy"].to_list() == ["edf + autoscale", "edf"]
    parts = [name for name in bill._parts(found) if name != "embodied kg"]
    assert {"busy kg", "idle kg", "asleep kg", "PUE kg"} <= set(parts)
    np.testing.assert_allclose(found.select(pl.sum_horizontal(parts)).to_series(), found["bill kg"], rtol=1e-9)
    by_hand = np.mean([result.metrics["bill_kg"] for result in ran[1::2]])
    assert found["bill kg"][0] == pytest.approx(by_hand, rel=1e-12)
    assert {"host kg", "SCI g/1k", "bill kWh", "energy cost", "cost", "water l", "replica h"} <= set(found.columns)
    widths = {
        str(bars.get_label()): [bar.get_width() for bar in bars] for bars in bill.bill_figure(found).axes[0].containers
    }
    assert widths["busy"] == found["busy kg"].to_list()
    together = bill.bill_by_policy(runs.drop([name for name in runs.columns if name.startswith("pool.")]))
    assert together is not None
    np.testing.assert_allclose(together["asleep, off, changing kg"], runs_states(found), rtol=1e-9)
    share = 100 * found["busy kg"][0] / found["bill kg"][0]
    assert f"(EDF + autoscale), is {share:.1f} % busy" in bill.bill_sentence(found)
    assert bill.bill_by_policy(runs.drop("bill_kg")) is None


def test_the_whole_bill_can_be_compared(ran: list[Result]) -> None:
    runs = results_of(ran).runs
    found = compare(runs, "edf", ["slo_attainment", "bill"])
    assert found["metric"].to_list() == ["slo_attainment", *BILL]
    own = found.filter(pl.col("metric") == "pue_carbon_kg")["difference"].item()
    by_seed = [rule.metrics["pue_carbon_kg"] - fixed.metrics["pue_carbon_kg"] for fixed, rule in (ran[:2], ran[2:])]
    assert own == pytest.approx(np.mean(by_seed), rel=1e-9)


def runs_states(found: pl.DataFrame) -> list[float]:
    columns = [
        f"{state} kg" for state in ("waking", "starting", "asleep", "off", "stopping") if f"{state} kg" in found.columns
    ]
    return found.select(pl.sum_horizontal(columns)).to_series().to_list()


def test_states_over_time() -> None:
    series = series_of()
    edges, (busy,) = states.binned(series, ["busy"])
    assert edges.tolist() == [0.0, 3600.0, 7200.0, 10800.0]
    assert busy.tolist() == [0.0, 1.0, 1.0]
    many = pl.DataFrame({"t_s": np.arange(1681.0), "busy": np.arange(1681)})
    edges, (means,) = states.binned(many, ["busy"])
    assert len(means) == states.MOST_BINS
    assert edges[-1] == 1680.0
    np.testing.assert_allclose(means, np.arange(1680).reshape(168, 10).mean(axis=1))
    figure = states.states_figure(series)
    carbon, pool = figure.axes
    assert carbon.patches[0].get_data().values.tolist() == [100.0, 200.0, 300.0]
    stack = {str(patch.get_label()): patch.get_data() for patch in pool.patches if isinstance(patch, StepPatch)}
    assert list(stack) == ["busy", "idle", "draining", "off"]
    assert stack["off"].values.tolist() == [4.0, 4.0, 4.0]
    assert (stack["idle"].values - stack["idle"].baseline).tolist() == [4.0, 2.0, 1.0]
    assert states.changes(series)
    assert states.states_sentence(series).startswith("On average 3 of 4 replicas are on (2 to 4)")
    assert "1 are off" in states.states_sentence(series)
    fixed = series.with_columns(idle=4 - pl.col("busy"), draining=pl.lit(0), off=pl.lit(0))
    assert not states.changes(fixed)
    assert (
        states.states_sentence(fixed)
        == "All 4 replicas are on for the whole run; on average 0.75 of them (18.8 %) are busy."
    )
    assert states.states_table(series, "x")["rows"] == [["lp", "here", "0.75", "2.00", "0.25", "1.00"]]


def test_regions_side_by_side() -> None:
    series = pl.concat(
        [
            series_of(),
            series_of("there", "cp", pool=1, gamma_g_per_kwh=[150.0, 150.0, 150.0, 400.0], residents=[0, 15, 5, 0]),
        ]
    )
    assert regions.has_regions(series)
    assert not regions.has_regions(series_of())
    assert regions.limits(series) == (400.0, 3.0)
    figure = regions.region_figure(series, "there")
    assert figure.axes[0].get_ylim()[1] == pytest.approx(420.0)
    np.testing.assert_allclose(figure.axes[2].patches[0].get_data().values, [0.0, 75.0, 50.0])
    said = regions.region_sentence(series, "there")
    assert said.startswith("there does 57.1 % of the work (requests in service), at 212 g/kWh and 2 kW on average")
    assert "62.5 % while its grid is cleaner than the others' mean, 0.0 % while it is dirtier" in said
    keys = {"preset": "paper", "policy": "edf", "seed": 0}
    moves = pl.DataFrame(
        [
            keys | {"origin": "here", "region": "here", "requests": 60, "carbon_term": 2.0},
            keys | {"origin": "here", "region": "there", "requests": 20, "carbon_term": 1.0},
            keys | {"origin": "there", "region": "there", "requests": 20, "carbon_term": 3.0},
        ]
    )
    table = regions.moves_table(moves, "EDF")
    assert table["rows"][1] == ["here", "there", "20", "25.0 %", "1"]
    assert (
        "20.0 % of the requests are served away from their origin; most from here to there 20.0 %." in table["caption"]
    )
    page = results_of({"runs": runs_of({"edf": (1.0,)}, {"edf": (1.0,)}), "series": series, "moves": moves})
    assert set(page.tables) == {"series", "moves"}


def in_browser(page: Path, profile: Path, width: int, dark: bool = False) -> str:
    """The page's document after its scripts have run, without a network, with what SPY tells."""
    spied = page.with_name(f"spied-{width}.html")
    spied.write_text(page.read_text(encoding="utf-8").replace("<style>", f"{SPY}<style>", 1), encoding="utf-8")
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ]
    command += [f"--window-size={width},900", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000"]
    command += ["--force-dark-mode"] if dark else []
    return subprocess.run(
        [*command, "--dump-dom", spied.as_uri()], capture_output=True, text=True, timeout=120, check=True
    ).stdout


def test_a_page_of_runs_at_hand(ran: list[Result], tmp_path: Path) -> None:
    page = write_page(ran, tmp_path / "week.html")
    assert page == tmp_path / "week.html"
    assert [path.name for path in tmp_path.iterdir()] == ["week.html"]
    text = expect_readable(page)
    for heading in (
        "Summary",
        "The bill",
        "Replicas by state, over the grid",
        "Latencies by tier",
        "All parameters",
    ):
        assert f">{heading}</h2>" in text
    found = summary.compared(results_of(ran).runs, "edf")
    assert found is not None
    assert found.differences["edf + autoscale"]["bill_kg"].text in text
    assert all(html.escape(sentence, quote=False).replace("'", "&#39;") in text for sentence in summary.verdicts(found))
    assert "The SLO-carbon plane</h2>" in text, "one rate has no curves"
    assert "<title>caps-fast: week</title>" in text
    again = write_page(ran, tmp_path / "other.html", name="week").read_text(encoding="utf-8")
    assert again == text


def test_a_page_of_one_run_and_of_a_frame(ran: list[Result], tmp_path: Path) -> None:
    text = expect_readable(write_page(ran[1], tmp_path / "one.html"))
    assert "EDF + autoscale keeps the SLO of" in text
    frame = results_of(ran[:2]).runs
    text = expect_readable(write_page(frame, tmp_path / "frame.html"))
    assert ">one seed</span>" in text
    assert "Replicas by state" not in text


def test_a_page_of_a_folder_is_readable(tmp_path: Path) -> None:

    text = expect_readable(write_report(folder_of(tmp_path / "paper"))[-1])
    assert "What the paper says, and ours</h2>" in text


def test_what_is_no_page_is_rejected(ran: list[Result], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"page\.png: page: expected a name ending in \.html"):
        write_page(ran, tmp_path / "page.png")
    with pytest.raises(InputError, match="no runs"):
        write_page([], tmp_path / "page.html")
    with pytest.raises(InputError, match="report: frame 'more': expected one of runs"):
        write_page({"runs": results_of(ran).runs, "more": series_of()}, tmp_path / "page.html")
    with pytest.raises(InputError, match="series: column role is missing"):
        write_page({"runs": results_of(ran).runs, "series": series_of().drop("role")}, tmp_path / "page.html")
    with pytest.raises(InputError, match="series: column off is of type String: expected numbers"):
        write_page({"runs": results_of(ran).runs, "series": series_of(off="none")}, tmp_path / "page.html")
    with pytest.raises(InputError, match="runs: column slo_attainment is missing"):
        write_page(results_of(ran).runs.drop("slo_attainment"), tmp_path / "page.html")
    with pytest.raises(InputError, match="cannot be written"):
        write_page(ran, tmp_path / "nowhere" / "page.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_the_page_fits_a_phone_and_a_desk(ran: list[Result], tmp_path: Path, width: int, dark: bool) -> None:
    document = in_browser(write_page(ran, tmp_path / "page.html"), tmp_path / "profile", width, dark)
    spied = re.search(r'data-spied="([^"]*)"', document)
    assert spied is not None, "the charts were not drawn"
    found = json.loads(html.unescape(spied[1]))
    assert found["told"] == [], "the console told something"
    assert found["asked"] == [], "something was asked of a host"
    assert found["needs"] <= found["width"], "the page is wider than its window"
    assert len(re.findall(r'<svg[^>]*class="marks"', document)) == 3
    assert ">This chart could not be drawn" not in document


def test_columns_of_pools_are_no_settings(ran: list[Result]) -> None:
    """Runs with the metrics of every pool stand beside one another; a scale rule is a part of its policy."""
    runs = results_of(ran).runs
    found = alike(runs)
    assert (found.runs.height, found.choice) == (4, "")
    assert found.runs["policy"].unique(maintain_order=True).to_list() == ["edf", "edf + autoscale"]
