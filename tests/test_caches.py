"""Where compiled code and models are kept: a folder of the user's own, or none; never beside the sources."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

from caps_fast import _jit, caches

ROOT = Path(__file__).parent.parent
RUN = ("run", "paper", "--days", "0.001", "--policies", "round-robin", "--set", "predictor.source=declared")
TOLD = "compiled code is not cached: "


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    functions = (caches.why_not, caches.tell_once)
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


def program(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "CAPS_FAST_CACHE")
    }
    code = "from caps_fast.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-B", "-c", code, *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def use(monkeypatch: pytest.MonkeyPatch, path: Path | str) -> str:
    monkeypatch.setenv("CAPS_FAST_CACHE", str(path))
    caches.why_not.cache_clear()
    return caches.why_not("numba")


def test_folders_are_made_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = os.umask(0)
    try:
        assert use(monkeypatch, tmp_path / "a" / "b") == ""
    finally:
        os.umask(old)
    for folder in ("a", "a/b", "a/b/numba"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("part", ["", "numba"])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, mode: int
) -> None:
    (tmp_path / part).mkdir(exist_ok=True)
    (tmp_path / part).chmod(mode)
    assert "others may write to" in use(monkeypatch, tmp_path)
    assert _jit.cache_root() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="files of other users need root")
def test_what_belongs_to_others_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    os.chown(folder, 12345, 12345)
    assert "belongs to another user" in use(monkeypatch, folder)


@pytest.mark.skipif(
    numba.config.DISABLE_JIT or os.geteuid() != 0, reason="nothing is compiled, or files of others cannot be made"
)
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_another_user_s_file_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(_jit, "cache_root", lambda: tmp_path)
    assert _jit.use_cache(_jit.kernel(twice))(21.0) == 42.0
    (path,) = tmp_path.rglob(f"*.{kind}")
    os.chown(path, 12345, 12345)
    kernel = _jit.use_cache(_jit.kernel(twice))
    assert kernel(21.0) == 42.0
    assert sum(kernel.stats.cache_misses.values()) == 1


def twice(x):
    return 2.0 * x


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("blocked", ["root", "numba", "hash"])
def test_without_a_folder_nothing_is_kept_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, blocked: str
) -> None:
    """Files in the way, for root may write to every folder."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "mine.py").write_text("def thrice(x):\n    return 3.0 * x\n")
    monkeypatch.syspath_prepend(str(sources))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import mine  # type: ignore[import-not-found]  # noqa: PLC0415 - it has just been made

    root = tmp_path / "cache"
    path = {"root": root, "numba": root / "numba", "hash": root / "numba" / _jit.source_hash()}[blocked]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch()
    use(monkeypatch, root)
    assert _jit.use_cache(_jit.kernel(mine.thrice))(2.0) == 6.0
    del sys.modules["mine"]
    assert [found.name for found in sources.iterdir()] == ["mine.py"]
    assert path.is_file()
    if blocked != "hash":
        (said,) = caplog.messages
        assert said.startswith(TOLD)
        assert "CAPS_FAST_CACHE names another folder" in said


@pytest.mark.parametrize("environment", [{}, {"HOME": ""}, {"HOME": "here", "XDG_CACHE_HOME": "there"}])
def test_homes_that_are_none_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CAPS_FAST_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert caches.why_not("numba") == "no home folder is known"
    assert list(tmp_path.iterdir()) == []


def test_commands_do_without_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = {"HOME": str(tmp_path / "file"), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    out = str(tmp_path / "out")
    for arguments in (
        RUN,
        ("grid", "--rates", "4,8", "--seeds", "1", "--out", out, *RUN[2:]),
        ("pareto", out),
        ("report", out),
        ("policies",),
    ):
        done = program(*arguments, **nowhere)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(TOLD) == (arguments[0] in ("run", "grid"))
    assert (tmp_path / "file").is_file()
