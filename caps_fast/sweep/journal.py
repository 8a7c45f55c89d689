"""A study's file: Optuna's journal, locked by one process at a time, and repaired if an interruption truncated its last
line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection

from caps_fast.documents import parse_json
from caps_fast.errors import InputError
from caps_fast.files import expect_no_link, expect_regular
from caps_fast.sweep.disk import writing
from caps_fast.sweep.lock import Lock


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Lock the file, existing or new, and repair it.

    Raises InputError if another process holds it, it is not a study, or its place cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would print the traceback of a trial that fails
    expect_regular(path)
    expect_no_link(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _whole_bytes(path)  # another file is rejected before anything is created next to it
    lock = Lock(path.with_name(f"{path.name}.lock"))
    lock.take(path)
    try:
        _mend(path)
        yield
    finally:
        lock.free()


def open_study(
    path: Path, name: str, directions: Sequence[StudyDirection], sampler: BaseSampler | None = None
) -> optuna.Study:
    """The study of that name in a locked file; a new one if there is none.

    Raises InputError if the file belongs to another study.
    """
    try:
        with writing(path):
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_Held()))  # type: ignore[arg-type]
            if any(study.study_name != name for study in storage.get_all_studies()):
                raise _no_study(str(path))
            return optuna.create_study(
                storage=storage, study_name=name, directions=directions, load_if_exists=True, sampler=sampler
            )
    except InputError:
        raise
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        AssertionError,
        RecursionError,
        optuna.exceptions.OptunaError,
    ):
        raise _no_study(str(path)) from None


def _whole_bytes(path: Path) -> int:
    """Number of bytes of a study's file in complete lines: all, except a last one that was being written when the
    process ended; 0 without a file.

    Raises InputError if it is another file.
    """
    if not path.exists():
        return 0
    with writing(path):
        lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            if "op_code" not in parse_json(line):
                raise TypeError
        except (ValueError, TypeError):
            if number == len(lines) > 1 and not line.endswith(b"\n"):
                return sum(map(len, lines[:-1]))
            raise _no_study(f"{path}: line {number}") from None
    return sum(map(len, lines))


def _mend(path: Path) -> None:
    """Drop an incomplete last line, and end the last complete one."""
    if whole := _whole_bytes(path):
        with writing(path), path.open("r+b") as stream:
            stream.truncate(whole)
            stream.seek(whole - 1)
            if stream.read(1) != b"\n":
                stream.write(b"\n")


def _no_study(where: str) -> InputError:
    return InputError(f"{where}: not a study of caps-fast; expected one, or a new file")


class _Held:
    """No lock per write: the whole file is locked."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
