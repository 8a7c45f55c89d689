"""The one exception that users see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: one line naming the file, row, column or option, its value and what was expected.

    The command line prints the message and exits with code 2.
    """


@contextmanager
def naming(origin: str) -> Iterator[None]:
    """Within, an InputError begins with `origin`, the file that is to blame, if there is one and the message does not begin with it."""
    try:
        yield
    except InputError as error:
        if not origin or str(error).startswith(f"{origin}: "):
            raise
        raise InputError(f"{origin}: {error}") from None
