"""`fetch-carbon` against a local server that answers in the documented shapes: what is asked, what is written, and
that keys stay secret.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from caps_fast import cli
from caps_fast.carbon.formats import read_carbon
from caps_fast.cli.fetch_carbon import register
from caps_fast.errors import InputError

pytest.importorskip("electricitymaps", reason="the extra fetch is not installed")
pytest.importorskip("watttime", reason="the extra fetch is not installed")

KEY, USER, PASSWORD = "key-5f1c", "someone", "word-9d2e"
LB_PER_MWH = 0.45359237
TWICE = ", ".join(['["2024-08-05T00:00:00+00:00", 5]'] * 2)


class Server(ThreadingHTTPServer):
    """Answers with one sample an hour (Electricity Maps) or every five minutes (WattTime); `holes` are left out."""

    asked: list[tuple[str, dict[str, str]]]
    status = 200
    body: bytes | None = None
    holes: tuple[str, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    location = ""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.asked.append((url.path, query))
        status, answer = self.answer(url.path, query)
        text = json.dumps(answer)
        for old, new in self.server.replaced:
            text = text.replace(old, new)
        body = text.encode() if self.server.body is None else self.server.body
        self.send_response(status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if self.server.status != 200:
            return self.server.status, {"message": "no"}
        if path == "/v3/carbon-intensity/past-range":
            return (
                self.past_range(query)
                if self.headers["auth-token"] == KEY
                else (401, {"message": "Invalid auth-token"})
            )
        if path == "/login":
            expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            return (
                (200, {"token": "t0"})
                if self.headers["Authorization"] == f"Basic {expected}"
                else (401, {"error": "no"})
            )
        if path == "/v3/historical":
            return self.historical(query) if self.headers["Authorization"] == "Bearer t0" else (401, {"error": "no"})
        return 404, {}

    def times(self, query: dict[str, str], step: timedelta, inclusive: bool) -> list[datetime]:
        first, last = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
        count = int((last - first) / step) + inclusive
        return [
            time
            for time in (first + step * i for i in range(count))
            if f"{time:%Y-%m-%dT%H:%M}" not in self.server.holes
        ]

    def past_range(self, query: dict[str, str]) -> tuple[int, Any]:
        items = [
            {
                "zone": query["zoneKey"],
                "carbonIntensity": 200 + time.hour,
                "datetime": f"{time:%Y-%m-%dT%H:%M:%S.000Z}",
                "updatedAt": "2024-09-01T00:00:00.000Z",
                "emissionFactorType": query["emissionFactorType"],
                "isEstimated": False,
                "estimationMethod": None,
            }
            for time in self.times(query, timedelta(hours=1), True)
        ]
        return 200, {"zone": query["zoneKey"], "data": items, "temporalGranularity": "hourly"}

    def historical(self, query: dict[str, str]) -> tuple[int, Any]:
        meta = {
            "data_point_period_seconds": 300,
            "region": query["region"],
            "signal_type": query["signal_type"],
            "units": "lbs_co2_per_mwh",
        }
        data = [
            {"point_time": time.isoformat(), "value": 1000.0 + time.hour}
            for time in self.times(query, timedelta(minutes=5), True)
        ]
        return 200, {"meta": meta | {"model": {"date": "2024-03-01"}, "warnings": []}, "data": data}

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        base = f"http://127.0.0.1:{running.server_port}"
        for name, value in (("ELECTRICITYMAPS_API_KEY", KEY), ("WATTTIME_USER", USER), ("WATTTIME_PASSWORD", PASSWORD)):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ELECTRICITYMAPS_API_URL", f"{base}/v3")
        monkeypatch.setenv("WATTTIME_API_URL", base)
        yield running
        running.shutdown()


def run(
    folder: Path, *options: str, out: str = "out.csv", start: str = "2024-08-05", end: str = "2024-08-07"
) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    app.command("other")(lambda: None)
    where = ["--out", str(folder / out), "--cache", str(folder / "cache")]
    return CliRunner().invoke(
        app, ["fetch-carbon", "--zone", "US-CAL-CISO", "--from", start, "--to", end, *where, *options]
    )


def texts(folder: Path, result: Result) -> str:
    kept = "".join(
        f"{path.name}\n{path.read_bytes().decode('latin-1')}" for path in sorted(folder.rglob("*")) if path.is_file()
    )
    return f"{kept}\n{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_electricity_maps_is_written_in_the_common_schema(tmp_path: Path, server: Server, out: str) -> None:
    result = run(tmp_path, out=out)
    assert result.exit_code == 0, result.output
    frame = read_carbon(tmp_path / out)
    assert frame["valid_at"].to_list() == [
        datetime(2024, 8, 5, tzinfo=UTC) + timedelta(hours=hour) for hour in range(48)
    ]
    assert frame.select("zone", "kind", "scope").unique().rows() == [("US-CAL-CISO", "average", "lifecycle")]
    assert frame["g_per_kwh"].to_list() == [200.0 + hour % 24 for hour in range(48)]
    (path, query), *more = server.asked
    assert (path, more) == ("/v3/carbon-intensity/past-range", [])
    assert query["emissionFactorType"] == "lifecycle"
    assert "48 samples from 2024-08-05 00:00 to 2024-08-06 23:00 UTC" in result.output


def test_long_ranges_are_asked_in_pieces_and_joined_without_repeats(tmp_path: Path, server: Server) -> None:
    assert run(tmp_path, "--scope", "direct", end="2024-09-01").exit_code == 0
    assert len(server.asked) == 3
    frame = read_carbon(tmp_path / "out.csv")
    assert frame.height == 27 * 24
    assert (frame["valid_at"].diff().drop_nulls() == timedelta(hours=1)).all()


def test_watttime_marginal_pounds_become_grams(tmp_path: Path, server: Server) -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    result = run(tmp_path, "--provider", "watttime", end="2024-08-06")
    assert result.exit_code == 0, result.output
    assert (root.handlers, root.level) == before
    frame = read_carbon(tmp_path / "out.csv")
    assert frame.height == 288
    assert frame.select("kind", "scope").unique().rows() == [("marginal", "direct")]
    assert frame["g_per_kwh"][0] == pytest.approx(1000 * LB_PER_MWH)
    assert server.asked[-1][1]["signal_type"] == "co2_moer"
    assert run(tmp_path, "--provider", "watttime", "--kind", "average").exit_code == 0
    assert server.asked[-1][1]["signal_type"] == "co2_aoer"


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
def test_settled_answers_are_kept_young_ones_are_not(tmp_path: Path, server: Server, provider: str) -> None:
    first = run(tmp_path, "--provider", provider)
    asked = len(server.asked)
    one = (tmp_path / "out.csv").read_text()
    assert run(tmp_path, "--provider", provider).exit_code == first.exit_code == 0
    assert len(server.asked) == asked
    assert (tmp_path / "out.csv").read_text() == one
    for path in (tmp_path / "cache").iterdir():
        path.write_text("[{")
    assert run(tmp_path, "--provider", provider).exit_code == 0
    assert len(server.asked) > asked
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    kept = len(list((tmp_path / "cache").iterdir()))
    assert run(tmp_path, "--provider", provider, start=yesterday, end=f"{yesterday}T06:00").exit_code == 0
    assert len(list((tmp_path / "cache").iterdir())) == kept


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_keys_do_not_follow_redirects(tmp_path: Path, server: Server, provider: str, status: int) -> None:
    with Server(("127.0.0.1", 0), Handler) as elsewhere:
        elsewhere.asked = []
        Thread(target=elsewhere.serve_forever, args=(0.01,), daemon=True).start()
        for target in (elsewhere, server):
            server.status, server.location = status, f"http://127.0.0.1:{target.server_port}/elsewhere"
            server.asked.clear()
            result = run(tmp_path, "--provider", provider)
            assert isinstance(result.exception, InputError)
            assert f"answered {status} (redirects are not followed" in str(result.exception)
            assert all(path != "/elsewhere" for path, _ in server.asked)
        assert elsewhere.asked == []
        elsewhere.shutdown()
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
@pytest.mark.parametrize("bad", ["-1", "1e9", f'"{KEY}"', f'"{PASSWORD}"', '"x"'])
def test_a_bad_answer_is_not_kept(tmp_path: Path, server: Server, provider: str, bad: str) -> None:
    server.replaced = ('"carbonIntensity": 200', f'"carbonIntensity": {bad}'), ('"value": 1000.0', f'"value": {bad}')
    result = run(tmp_path, "--provider", provider)
    assert isinstance(result.exception, InputError)
    assert not any(secret in texts(tmp_path, result) for secret in (KEY, PASSWORD))
    assert not list(tmp_path.rglob("*.json"))
    server.replaced = ()
    assert run(tmp_path, "--provider", provider).exit_code == 0


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
@pytest.mark.parametrize("where", ["US-CAL-CISO", "hourly", "2024-03-01"])
def test_a_key_that_a_server_sends_back_is_written_nowhere(
    tmp_path: Path, server: Server, provider: str, where: str
) -> None:
    server.replaced = ((f'"{where}"', f'"{KEY} {PASSWORD}"'),)
    seen = texts(tmp_path, run(tmp_path, "--provider", provider))
    assert KEY not in seen
    assert PASSWORD not in seen


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
@pytest.mark.parametrize(
    "text",
    [*("[" * 100_000, "[" * 600 + "]" * 600, "[1" + "0" * 100_000 + "]", "{}", "5", '[["2024-08-05T00:00:00+00:00"]]')]
    + [
        f'[["{time}", {value}]]'
        for time in ("2024-08-05T00:00:00+00:00", "2024-08-05", "x")
        for value in ("-1", "NaN", "1e999", "null", "{}")
    ]
    + [f"[{TWICE}]", '[["2023-08-05T00:00:00+00:00", 5]]', '[["2024-08-05T00:00:00", 5]]', "[[3, 5]]"],
)
def test_what_is_kept_is_looked_at(tmp_path: Path, server: Server, provider: str, text: str) -> None:
    assert run(tmp_path, "--provider", provider).exit_code == 0
    right = (tmp_path / "out.csv").read_text()
    for path in (tmp_path / "cache").iterdir():
        path.write_text(text)
    assert run(tmp_path, "--provider", provider).exit_code == 0
    assert (tmp_path / "out.csv").read_text() == right


def test_gaps_are_told(tmp_path: Path, server: Server) -> None:
    server.holes = ("2024-08-05T05:00", "2024-08-05T06:00")
    assert "2 samples are missing in 1 gaps, the first after 2024-08-05 04:00 UTC" in run(tmp_path).output


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
@pytest.mark.parametrize(
    ("status", "reason"), [(401, "the key was rejected"), (404, "no data for this zone"), (429, "too many requests")]
)
def test_refusals_are_one_line_and_leave_nothing(
    tmp_path: Path, server: Server, provider: str, status: int, reason: str
) -> None:
    server.status = status
    result = run(tmp_path, "--provider", provider)
    assert isinstance(result.exception, InputError)
    assert f"answered {status} ({reason}" in str(result.exception)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"<html>", b'{"data": 5}', b'{"data": [{"datetime": 3}]}'])
@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
def test_senseless_answers_are_one_line(tmp_path: Path, server: Server, provider: str, body: bytes) -> None:
    server.body = body
    result = run(tmp_path, "--provider", provider)
    assert isinstance(result.exception, InputError)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("provider", ["electricitymaps", "watttime"])
@pytest.mark.parametrize("status", [200, 401])
def test_keys_are_written_nowhere(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture, provider: str, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    server.status = status
    seen = texts(tmp_path, run(tmp_path, "--provider", provider)) + caplog.text
    for secret in (KEY, PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()):
        assert secret not in seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--provider", "other"), "--provider 'other': expected one of electricitymaps, watttime"),
        (("--zone", "../x"), "--zone '../x': expected letters"),
        (("--to", "2024-08-01"), "is not before --to"),
        (("--from", "soon"), "--from 'soon': expected a date"),
        (("--kind", "marginal"), "--kind 'marginal': electricitymaps has average"),
        (("--provider", "watttime", "--scope", "lifecycle"), "--scope 'lifecycle': watttime has direct"),
        (("--step", "daily"), "--step 'daily': electricitymaps has hourly"),
        (("--out", "out.xlsx"), "expected a name that ends in .csv or .parquet"),
        (("--out", "nowhere/out.csv"), "--out nowhere/out.csv: the folder nowhere does not exist"),
        (("--from", "0001-01-01T00:00+05:00"), "--from '0001-01-01T00:00+05:00': expected a date"),
    ],
)
def test_bad_options_are_one_line(tmp_path: Path, server: Server, options: tuple[str, ...], message: str) -> None:
    result = run(tmp_path, *options)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_the_program_says_one_line_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "MODULES", ("fetch_carbon",))
    options = ["--zone", "DE", "--from", "2024-08-05", "--to", "2024-08-01", "--out", "x.csv"]
    monkeypatch.setattr(sys, "argv", ["caps-fast", "fetch-carbon", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "",
        "caps-fast: --from 2024-08-05T00:00Z is not before --to 2024-08-01T00:00Z: expected an earlier time\n",
    )


def test_missing_key_client_and_network_are_one_line(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("ELECTRICITYMAPS_API_KEY")
        assert "ELECTRICITYMAPS_API_KEY is not set" in str(run(tmp_path).exception)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openapi", None)
        assert "expected the extra caps-fast[fetch]" in str(run(tmp_path).exception)
    server.body = b'{"zone": "US-CAL-CISO", "data": []}'
    assert "no data for US-CAL-CISO" in str(run(tmp_path, end="2024-08-06").exception)
    assert pl.DataFrame({"files": [str(path) for path in tmp_path.glob("out*")]}).is_empty()


@pytest.mark.parametrize("year", ["0001", "1899", "2201", "2300", "9999"])
def test_years_of_another_age_are_one_line(tmp_path: Path, server: Server, year: str) -> None:
    result = run(tmp_path, start=f"{year}-12-30", end=f"{year}-12-31")
    assert isinstance(result.exception, InputError)
    assert f"--from '{year}-12-30': expected a year from 1900 to 2200" in str(result.exception)
