"""The exception for bad input, and the hint at what the user may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

LONG_ENOUGH = 3  # first letters of a name


class InputError(ValueError):
    """Bad input: one line naming the file, row, column or option, its value and what was expected.

    The command line prints the message and exits with code 2.
    """


@contextmanager
def naming(origin: str) -> Iterator[None]:
    """A context in which an InputError begins with `origin`, the file that caused it."""
    try:
        yield
    except InputError as error:
        if not origin or str(error).startswith(f"{origin}: "):
            raise
        raise InputError(f"{origin}: {error}") from None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean NAME?)`, with the known name that `word` begins or is close to; "" if none is close."""
    plain = {_plain(name): name for name in known}
    begun = sorted((name for name in plain if len(word) >= LONG_ENOUGH and name.startswith(_plain(word))), key=len)
    found = begun or get_close_matches(_plain(word), plain, 1, cutoff)
    return f" (did you mean {plain[found[0]]}?)" if found else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
