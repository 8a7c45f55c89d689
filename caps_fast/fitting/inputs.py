"""The files of a fit, distinguished by their columns."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from caps_fast.errors import InputError
from caps_fast.files import open_regular
from caps_fast.profiles.step_tables import Steps, is_step_table, read_steps
from caps_fast.validation.log import RequestLog, is_log, read_log
from caps_fast.validation.power_log import PowerLog, is_power_log, read_power_log

HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Inputs:
    """Measurements of one replica, in the order of the files."""

    tables: tuple[Steps, ...]
    logs: tuple[RequestLog, ...]
    powers: tuple[PowerLog, ...]

    @property
    def gpus(self) -> int:
        """GPUs per replica. Raises InputError if tables differ."""
        found = {one.gpus for one in self.tables}
        if len(found) > 1:
            raise InputError(
                f"{', '.join(one.path for one in self.tables)}: tensor_parallel differs: expected files of one replica"
            )
        return found.pop() if found else 1

    @property
    def runs(self) -> list[tuple[RequestLog, PowerLog]]:
        """Each power log with the request log of the same run. Raises InputError if that is unclear."""
        if not self.powers:
            return []
        if len(self.powers) != len(self.logs):
            raise InputError(
                f"{self.powers[0].path}: {len(self.powers)} power logs with {len(self.logs)} request logs: expected "
                "one of each per run, in the same order"
            )
        return list(zip(self.logs, self.powers, strict=True))


def is_new(path: str) -> bool:
    """Whether a file is a table of steps, a request log or a power log.

    Raises InputError if it cannot be read.
    """
    columns = _columns(path)
    return columns is None or is_step_table(columns) or is_log(columns) or is_power_log(columns)


def read_inputs(paths: Sequence[str], wanted: Mapping[str, str | int | None], benchmark: int | None = None) -> Inputs:
    """Read every file by its columns, `benchmark` of a benchmark's file.

    Raises InputError if one is none of these.
    """
    tables, logs, powers = [], [], []
    for path in paths:
        columns = _columns(path)
        if columns is None:
            logs.append(read_log(path, benchmark))
        elif is_log(columns):
            logs.append(read_log(path))
        elif is_step_table(columns):
            tables.append(read_steps(path, wanted))
        elif is_power_log(columns):
            powers.append(read_power_log(path))
        else:
            raise InputError(
                f"{path}: columns {', '.join(columns)[:200]}: expected a table of steps (decoding, context_tokens, "
                "prompt_tokens, "
                "prompt_tokens_before, step_s), a request log (arrival_s, input_tokens, output_tokens, ttft_s, "
                "e2e_s) or a power log (time_s, power_w); other measurements are fitted one file at a time"
            )
    return Inputs(tuple(tables), tuple(logs), tuple(powers))


def _columns(path: str) -> list[str] | None:
    """The columns of a CSV file; None for JSON. Raises InputError if it cannot be read."""
    try:
        with open_regular(path) as stream:
            start = stream.read(HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected measurements") from None
    if start.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"["):
        return None
    try:
        header = next(csv.reader(io.StringIO(start.decode("utf-8-sig", "replace"), newline="")), [])
    except csv.Error:
        return []
    return [name.strip() for name in header]
