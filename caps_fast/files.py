"""Files written whole or not at all, over nothing that is not theirs."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from io import BufferedReader
from pathlib import Path

from caps_fast.errors import InputError

PICTURES = (".png", ".svg", ".pdf")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # how compressed files begin


@contextmanager
def whole(path: Path, follow: bool = True) -> Iterator[Path]:
    """A file beside `path` to write to; it takes the place of `path` at the end, or is removed where anything fails.

    A link is followed, or else, as is right in a folder that may come from others, replaced. What killed processes had
    begun to write is removed. Raises InputError where it cannot be written, and at once where something else than a
    regular file stands there.
    """
    expect_regular(path)
    target = (
        Path(os.path.realpath(path)) if follow and os.path.islink(path) else path
    ).absolute()  # `~` and `://` mean nothing then
    _remove_begun(target)
    beside = target.with_name(
        f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part"
    )  # a name at which no link can wait
    try:
        yield beside
        os.replace(beside, target)
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise InputError(f"{path}: cannot be written ({reason}); expected a writable place with room") from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file that `whole` wrote, if it is there, and what killed processes had begun to write to it."""
    path.unlink(missing_ok=True)
    _remove_begun(path)


def _remove_begun(path: Path) -> None:
    """Remove what processes that are no more had begun to write in place of a file."""
    for one in path.parent.glob(f".{escape(path.name)}.*.part"):
        number = one.name.removeprefix(f".{path.name}.").partition(".")[0]
        if number.isdecimal() and not _is_running(int(number)):
            with suppress(OSError):
                one.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def expect_outputs(outputs: Mapping[str, str | Path | None], inputs: Iterable[str | Path]) -> None:
    """Find out before the work what would fail after it.

    Raises InputError where an output (by its option) has no folder or cannot be written, or would take the place of an
    input or of another output.
    """
    taken = {os.path.realpath(path): "that is read" for path in inputs}
    for option, path in outputs.items():
        if path is None:
            continue
        expect_regular(path)
        folder = os.path.dirname(os.path.realpath(path) if os.path.islink(path) else path) or "."
        if not os.path.isdir(folder):
            raise InputError(f"{option} {path}: the folder {folder} does not exist; expected one to write to")
        if not os.access(folder, os.W_OK):
            raise InputError(f"{option} {path}: the folder {folder} cannot be written to; expected one that can")
        if use := taken.get(os.path.realpath(path)):
            raise InputError(f"{option} {path}: a file {use}; expected another one to write to")
        taken[os.path.realpath(path)] = f"that {option} writes"


def expect_picture(path: str | Path) -> None:
    """Raise InputError where the name does not end as a picture's does."""
    if Path(path).suffix.lower() not in PICTURES:
        raise InputError(f"{path}: picture: expected a name ending in {', '.join(PICTURES)}")


def expect_parquet(outputs: Mapping[str, Path | None]) -> None:
    """Raise InputError where the name of a table to write, by its option, does not end as a Parquet file's does."""
    for option, path in outputs.items():
        if path is not None and path.suffix.lower() != ".parquet":
            raise InputError(f"{option} {path}: expected a name that ends in .parquet")


def expect_regular(path: str | Path) -> None:
    """Raise InputError where something else than a regular file stands."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: not a regular file; expected a file to write")


def expect_no_link(path: str | Path, kind: str = "a regular file") -> None:
    """Raise InputError where a link stands in place of a file or folder of ours: it may lead anywhere."""
    if os.path.islink(path):
        raise InputError(f"{path}: a link to {os.readlink(path)}; expected {kind}, or nothing")


def _reason(error: Exception) -> str | None:
    """What the system said against writing; None for other errors.

    Polars, in Rust, says it in the text of errors of several classes.
    """
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return os.strerror(int(number[1]))
    return (error.strerror or str(error)) if isinstance(error, OSError) else None


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file for reading.

    Raises OSError, at once where a pipe stands there, which might never say anything, or a device without end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind):
        os.close(handle)
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        raise OSError(number, os.strerror(number) if stat.S_ISDIR(kind) else "not a regular file", str(path))
    return open(handle, "rb")


def is_special(path: str) -> bool:
    """Whether something stands there that can be read once only or without end: a pipe, a device, a socket."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
