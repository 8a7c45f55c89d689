"""Request traces: files of many formats in one canonical frame.

`read_requests(path)` reads the formats of `formats()` and, with a column map, any CSV, JSONL or Parquet file, plain or
compressed with gzip or Zstandard.
"""

from __future__ import annotations

from caps_fast.traces.formats import Format, formats
from caps_fast.traces.reading import TraceFile, read_requests, recognise

__all__ = ["Format", "TraceFile", "formats", "read_requests", "recognise"]
