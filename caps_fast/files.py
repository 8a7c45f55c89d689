"""Atomic writing of files, which replaces nothing but regular files."""

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
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # first bytes of compressed files


@contextmanager
def whole(path: Path, follow: bool = True) -> Iterator[Path]:
    """A temporary file next to `path` to write to; it replaces `path` at the end, or is removed if anything fails.

    A link is followed, or replaced, as is right in a folder that may come from others. Unfinished files of killed
    processes are removed. Raises InputError if it cannot be written, and at once if `path` is not a regular file.
    """
    expect_regular(path)
    target = (
        Path(os.path.realpath(path)) if follow and os.path.islink(path) else path
    ).absolute()  # `~` and `://` mean nothing then
    _remove_begun(target)
    beside = target.with_name(
        f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part"
    )  # a name at which there cannot be a link
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
    """Remove a file that `whole` wrote, if it exists, and unfinished files of killed processes."""
    path.unlink(missing_ok=True)
    _remove_begun(path)


def _remove_begun(path: Path) -> None:
    """Remove unfinished files of processes that no longer exist."""
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
    """Check outputs before the work.

    Raises InputError if an output (by its option) has no folder or cannot be written, or would replace an input or
    another output.
    """
    taken = {os.path.realpath(path): "which is an input" for path in inputs}
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
            raise InputError(f"{option} {path}: a file {use}; expected another file to write to")
        taken[os.path.realpath(path)] = f"which {option} writes"


def expect_picture(path: str | Path) -> None:
    """Raise InputError if the name does not end like a picture's."""
    if Path(path).suffix.lower() not in PICTURES:
        raise InputError(f"{path}: picture: expected a name ending in {', '.join(PICTURES)}")


def expect_parquet(outputs: Mapping[str, Path | None]) -> None:
    """Raise InputError where the name of a table to write, by its option, does not end as a Parquet file's does."""
    for option, path in outputs.items():
        if path is not None and path.suffix.lower() != ".parquet":
            raise InputError(f"{option} {path}: expected a name that ends in .parquet")


def expect_regular(path: str | Path) -> None:
    """Raise InputError if there is something other than a regular file."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: not a regular file; expected a file to write")


def expect_no_link(path: str | Path, kind: str = "a regular file") -> None:
    """Raise InputError if a file or folder of a result is a link, which may lead anywhere."""
    if os.path.islink(path):
        raise InputError(f"{path}: a link to {os.readlink(path)}; expected {kind}, or nothing")


def _reason(error: Exception) -> str | None:
    """The system's reason against writing; None for other errors.

    Polars, in Rust, has it in the text of errors of several classes.
    """
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return os.strerror(int(number[1]))
    return (error.strerror or str(error)) if isinstance(error, OSError) else None


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file for reading.

    Raises OSError; at once for a pipe, which might block forever, and for a device without end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind):
        os.close(handle)
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        raise OSError(number, os.strerror(number) if stat.S_ISDIR(kind) else "not a regular file", str(path))
    return open(handle, "rb")


def is_special(path: str) -> bool:
    """Whether it can be read only once or without end: a pipe, a device, a socket."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
