"""Documents of others within bounds: nesting, numbers and keys that would take all time or memory are told in one
line.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from caps_fast.cli.scenarios import settings
from caps_fast.documents import parse_json, parse_toml
from caps_fast.errors import InputError
from caps_fast.profiles import read_profile
from caps_fast.scenario import load, preset
from caps_fast.sweep import load as load_sweep
from caps_fast.sweep import sweep
from caps_fast.sweep.journal import held
from caps_fast.sweep.values import values
from tiny_sweeps import SERIAL, plan_of

MANY = 100_000
TOML = {
    "brackets": "a = " + "[" * MANY,
    "closed brackets": "a = " + "[" * 500 + "]" * 500,
    "tables": "a = " + "{b = " * MANY,
    "dots": ".".join("a" * MANY) + " = 1",
    "quoted dots": ".".join(["'a b'"] * MANY) + " = 1",
    "a table's dots": "[" + " . ".join("a" * MANY) + "]",
    "digits": "a = 1" + "0" * MANY,
    "hexadecimal digits": "a = 0x1" + "0" * MANY,
    "65 bits": "a = 9223372036854775808",
    "size": "#" * (1 << 20) + "\n",
}
JSON = {
    "brackets": "[" * MANY,
    "closed brackets": "[" * 500 + "]" * 500,
    "tables": '{"a":' * MANY,
    "digits": "1" + "0" * MANY,
}


@pytest.mark.parametrize("text", TOML.values(), ids=TOML)
def test_toml_out_of_bounds_is_refused_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    start_s = time.monotonic()
    for read in (load, load_sweep, lambda path: read_profile(str(path))):
        with pytest.raises(InputError) as refused:
            read(path)
        assert str(refused.value).startswith(f"{path}: not TOML: ")
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 300
    assert time.monotonic() - start_s < 5


def test_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfpreset = 'measured'\r\ndays = 2\r\n")
    assert load(path).days == 2


def test_toml_within_bounds_is_read() -> None:
    assert parse_toml(
        "a.b.c = [1.5, 2.5, 3.5]\nd = '1.2.3.4.5.6.7.8.9.10.11.12.13.14.15'\ne = -9223372036854775808\r\n"
    )["e"] == -(2**63)
    assert len(parse_toml("a = [" + "0.1, " * 1000 + "]")["a"]) == 1000


def test_dates_need_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for text in ("2024-08-05", "2024-08-05T06:00:00", "2024-08-05T06:00:00Z"):
        path.write_text(f"[carbon]\nfile = 'x.csv'\nstart = {text}\n")
        assert load(path).carbon.start == text.replace("Z", "+00:00")
    assert parse_toml("a = [[2024-08-05], 06:00:00]")["a"] == [["2024-08-05"], "06:00:00"]


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_json_out_of_bounds_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested too deep|digits"):
        parse_json(text)


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_a_sweep_s_folder_of_odd_json(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    sweep(plan_of("4", seeds=1), tmp_path, SERIAL)
    (tmp_path / "failures.json").write_text(text)
    sweep(plan_of("4", seeds=1), tmp_path, SERIAL)
    assert "not a list of failed runs; put aside" in caplog.text
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="not the manifest of a sweep"):
        sweep(plan_of("4", seeds=1), tmp_path, SERIAL)


@pytest.mark.parametrize(
    "text", ["[" * MANY, "[" * 500 + "]" * 500, "[1" + "0" * MANY + "]"], ids=["brackets", "closed", "digits"]
)
def test_lists_on_the_command_line(text: str) -> None:
    with pytest.raises(InputError, match=r"--set .*: expected a list like") as refused:
        settings([f"cluster.pools={text}"])
    assert len(str(refused.value)) < 300
    with pytest.raises(InputError, match="expected JSON values") as refused:
        values(text, "--set x")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_a_study_of_odd_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.log").write_text(text + "\n")
    with pytest.raises(InputError, match="not a study"), held(tmp_path / "study.log"):
        pass


@pytest.mark.parametrize("fields", [{"workload.trace": "gone"}, {"carbon.file": "gone"}, {"predictor.model": "gone"}])
def test_a_missing_file_is_named_with_the_folder_it_was_looked_up_in(
    fields: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(f"gone: cannot be read (No such file or directory in {tmp_path})")):
        _ = preset("paper").replace(fields).hash
    with pytest.raises(
        InputError, match=re.escape(f"gone.toml: cannot be read (No such file or directory in {tmp_path}")
    ):
        load("gone.toml")
