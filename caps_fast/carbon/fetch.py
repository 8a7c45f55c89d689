"""Carbon intensity over the internet: Electricity Maps and WattTime, through their official clients (extra `fetch`).

The key comes from the environment and is only sent with the request. Samples are cached on disk, one file per chunk of
time, once they are validated and old enough not to change.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from caps_fast.carbon.declared import Declared
from caps_fast.carbon.formats_json import JSON_READERS
from caps_fast.carbon.frame import MAX_G_PER_KWH, SCHEMA, UNKNOWN
from caps_fast.documents import parse_json, read_json
from caps_fast.errors import InputError
from caps_fast.files import whole

SETTLED = timedelta(days=7)
"""Providers still correct younger values; only older chunks are cached."""
TIMEOUT_S = 60.0
OK = 200
SECRETS = ("ELECTRICITYMAPS_API_KEY", "WATTTIME_USER", "WATTTIME_PASSWORD")
STEPS = ("hourly", "15_minutes", "5_minutes")
REASONS = {
    400: "the request was rejected: check zone and dates",
    401: "the key was rejected",
    403: "the key does not cover this zone",
}
REASONS |= {404: "no data for this zone and time", 429: "too many requests: try again later"}

REASONS |= dict.fromkeys(
    (301, 302, 303, 307, 308), "redirects are not followed, since the key is for this server only: check the base URL"
)


@dataclass(frozen=True)
class Query:
    """What to fetch: [start, end) of one zone.

    `scope` is Electricity Maps' (direct | lifecycle), `kind` WattTime's (marginal | average).
    """

    provider: str
    zone: str
    start: datetime
    end: datetime
    kind: str
    scope: str
    step: str = "hourly"

    def __post_init__(self) -> None:
        provider = PROVIDERS.get(self.provider)
        if provider is None:
            raise InputError(f"--provider {self.provider!r}: expected one of {', '.join(PROVIDERS)}")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.zone):
            raise InputError(f"--zone {self.zone!r}: expected letters, digits, - and _")
        if self.start >= self.end:
            raise InputError(
                f"--from {self.start:%Y-%m-%dT%H:%MZ} is not before --to {self.end:%Y-%m-%dT%H:%MZ}: expected an "
                "earlier time"
            )
        for option, value, allowed in (
            ("--kind", self.kind, provider.kinds),
            ("--scope", self.scope, provider.scopes),
            ("--step", self.step, provider.steps),
        ):
            if value not in allowed:
                raise InputError(
                    f"{option} {value!r}: {self.provider} has {' or '.join(allowed)}; expected one of them"
                )

    def chunks(self) -> Iterator[Query]:
        """The query, divided into single requests."""
        length = PROVIDERS[self.provider].chunk
        start = self.start
        while start < self.end:
            yield replace(self, start=start, end=min(start + length, self.end))
            start += length

    @property
    def name(self) -> str:
        asked = f"{self.provider}_{self.zone}_{self.kind}_{self.scope}_{self.step}"
        return f"{asked}_{self.start:%Y%m%dT%H%M%S}_{self.end:%Y%m%dT%H%M%S}.json"


@dataclass(frozen=True)
class Provider:
    """A provider: `ask(query)` returns its answers as JSON documents."""

    ask: Callable[[Query], list[Any]]
    reader: str
    chunk: timedelta
    kinds: tuple[str, ...]
    scopes: tuple[str, ...]
    steps: tuple[str, ...]


def fetch(
    query: Query, cache: Path | None, now: datetime, chunks: Callable[[list[Query]], Iterator[Query]] = iter
) -> pl.DataFrame:
    """The observed intensities of `query` in the canonical schema.

    `chunks` may wrap the loop over requests, to show progress.

    Raises InputError for a missing key or client, a rejected request, an invalid answer, or no data.
    """
    parts = [_samples(chunk, cache, now) for chunk in chunks(list(query.chunks()))]
    if not sum(part.height for part in parts):
        raise InputError(
            f"{query.provider}: no data for {query.zone} from {query.start:%Y-%m-%d} to {query.end:%Y-%m-%d}; "
            "expected some"
        )
    return pl.concat(parts).sort("valid_at")


def _samples(chunk: Query, cache: Path | None, now: datetime) -> pl.DataFrame:
    """The samples of a chunk.

    Only validated times and numbers are cached, nothing else of an answer.
    """
    path = cache / chunk.name if cache else None
    if path and path.exists():
        try:
            if not (kept := _frame(chunk, read_json(path))).is_empty():
                return kept
        except (OSError, ValueError, TypeError, OverflowError):
            path.unlink(missing_ok=True)
    frame = _fetched(chunk)
    if path and frame.height and chunk.end + SETTLED <= now:
        samples = [[time.isoformat(), value] for time, value in frame.select("valid_at", "g_per_kwh").rows()]
        with whole(path, follow=False) as beside:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(samples), encoding="utf-8")
    return frame


def _fetched(chunk: Query) -> pl.DataFrame:
    provider = PROVIDERS[chunk.provider]
    where = f"{chunk.provider}, {chunk.zone} from {chunk.start:%Y-%m-%d}"
    try:
        documents = provider.ask(chunk)
        if not any(document.get("data") for document in documents):
            return _frame(chunk, [])
        found = JSON_READERS[provider.reader](documents, where, Declared(chunk.zone, None, None))
    except InputError as error:  # which may contain what a server sent
        raise InputError(_without_secrets(str(error))) from None
    for column, wanted in (("zone", chunk.zone), ("kind", chunk.kind), ("scope", chunk.scope)):
        if not found[column].is_in([wanted, UNKNOWN]).all():
            raise InputError(f"{where}: the answer is about another {column}; expected {wanted}")
    found = found.filter((pl.col("valid_at") >= chunk.start) & (pl.col("valid_at") < chunk.end))
    return _frame(chunk, found.sort("valid_at").select("valid_at", "g_per_kwh").rows())


def _frame(chunk: Query, samples: Sequence[tuple[datetime | str, float]]) -> pl.DataFrame:
    """Times and intensities of a chunk in the canonical schema.

    Raises ValueError or TypeError for invalid ones.
    """
    times = [datetime.fromisoformat(time) if isinstance(time, str) else time for time, _ in samples]
    values = [value for _, value in samples]
    if not all(chunk.start <= time < chunk.end for time in times) or not all(
        0 <= value <= MAX_G_PER_KWH for value in values
    ):
        raise ValueError("samples outside this chunk")
    if any(after <= before for before, after in pairwise(times)):
        raise ValueError("samples out of order")
    constant = {"zone": chunk.zone, "issued_at": None, "kind": chunk.kind, "scope": chunk.scope}
    frame = pl.DataFrame(
        {"valid_at": times, "g_per_kwh": values}, schema={name: SCHEMA[name] for name in ("valid_at", "g_per_kwh")}
    )
    return frame.with_columns(pl.lit(value, SCHEMA[name]).alias(name) for name, value in constant.items()).select(
        *SCHEMA
    )


def _without_secrets(text: str) -> str:
    for name in SECRETS:
        if len(value := os.environ.get(name, "")) > 3:
            text = text.replace(value, "...")
    return text


def _ask_electricitymaps(query: Query) -> list[Any]:
    """The generated layer of the client: its high-level one has no past range and takes no base URL."""
    key = _secret("ELECTRICITYMAPS_API_KEY", "Electricity Maps")
    openapi = _client("openapi", "electricitymaps")
    api = _client("openapi.api.carbon_intensity_api", "electricitymaps")
    models = _client("openapi.models", "electricitymaps")
    configuration = openapi.Configuration(
        host=os.environ.get("ELECTRICITYMAPS_API_URL", "https://api.electricitymaps.com/v3")
    )
    configuration.api_key["authToken"] = key
    configuration.retries = _client("urllib3", "urllib3").Retry(redirect=False)  # the key is sent to this server only
    past_range = api.CarbonIntensityAPI(
        openapi.ApiClient(configuration)
    ).get_carbon_intensity_past_range_without_preload_content
    try:
        answer = past_range(
            start=f"{query.start:%Y-%m-%dT%H:%M:%SZ}",
            end=f"{query.end:%Y-%m-%dT%H:%M:%SZ}",
            zone_key=query.zone,
            temporal_granularity=models.TemporalGranularity(query.step),
            emission_factor_type=models.EmissionFactorType(query.scope),
            _request_timeout=TIMEOUT_S,
        )
        status, body = answer.status, answer.data
    except Exception as error:
        raise _unreachable("Electricity Maps", error) from None
    return [_document("Electricity Maps", status, body)]


def _ask_watttime(query: Query) -> list[Any]:
    _secret("WATTTIME_USER", "WattTime")
    _secret("WATTTIME_PASSWORD", "WattTime")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    historical = _client("watttime", "watttime").WattTimeHistorical
    root.handlers[:], root.level = handlers, level  # importing the client enables logging for the whole program
    client = historical()
    client.session.max_redirects = 0  # the token is sent to this server only
    client.url_base = os.environ.get("WATTTIME_API_URL", "https://api.watttime.org")
    signal = {"marginal": "co2_moer", "average": "co2_aoer"}[query.kind]
    try:
        documents: list[Any] = client.get_historical_jsons(query.start, query.end, query.zone, signal)
    except Exception as error:
        response = getattr(error.__cause__ or error, "response", None)
        if response is None:
            raise _unreachable("WattTime", error) from None
        documents = [_document("WattTime", response.status_code, b"")]
    return documents


def _document(name: str, status: int, body: bytes) -> Any:
    if status != OK:
        raise InputError(f"{name} answered {status} ({REASONS.get(status, 'unknown reason')}); expected {OK}")
    try:
        document = parse_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InputError(f"{name}: the answer is not a JSON object; expected one")
    return document


def _secret(variable: str, name: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise InputError(f"environment variable {variable} is not set: expected your {name} credentials in it")
    return value


def _client(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise InputError(f"the package {package} is not installed: expected the extra caps-fast[fetch]") from None


def _unreachable(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name} did not answer ({type(error).__name__}); expected an answer: check the network and the base URL"
    )


PROVIDERS = {
    "electricitymaps": Provider(
        _ask_electricitymaps, "electricitymaps-json", timedelta(days=10), ("average",), ("lifecycle", "direct"), STEPS
    ),
    "watttime": Provider(
        _ask_watttime, "watttime", timedelta(days=30), ("marginal", "average"), ("direct",), ("5_minutes",)
    ),
}
