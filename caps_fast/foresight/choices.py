"""Forecasts to compare, by the names that users give, and the fields of a scenario that each of them sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from caps_fast.carbon.forecasters import NAMES
from caps_fast.errors import InputError
from caps_fast.scenario import Scenario
from caps_fast.sweep.values import NUMBER

DEFAULT = "perfect,noise:1,noise:2,noise:4,yesterday,persistence,learned"
EXPECTED = (
    f"{', '.join(name for name in NAMES if name != 'noisy')}, noise:K (K times the scenario's forecast_error), "
    "carboncast or file:PATH"
)
MOST_ERROR = 2.0  # mean absolute, of a log-normal factor of mean 1


@dataclass(frozen=True)
class Choice:
    """One forecast for all regions.

    label       as the user named it
    noise       times the scenario's forecast error; None for other forecasts
    file        of forecasts, for `carboncast` and `file:PATH`
    """

    label: str
    noise: float | None = None
    file: str | None = None

    def fields(self, config: Scenario) -> dict[str, Any]:
        """The fields that it sets, region by region. Raises InputError for more noise than a forecast can have."""
        found: dict[str, Any] = {}
        for name, region in config.fleet.regions.items():
            at = f"regions.{name}.monitor"
            own: dict[str, Any] = {"forecast": self.label, "forecast_file": None}
            if self.file is not None:
                own |= {"forecast": "file", "forecast_file": self.file}
            elif self.noise is not None:
                error = tuple(self.noise * day for day in region.monitor.forecast_error)
                if max(error, default=0.0) >= MOST_ERROR:
                    raise InputError(
                        f"--forecasts {self.label!r}: an error of {max(error):.3g}; expected below {MOST_ERROR:g}, "
                        "so a smaller factor"
                    )
                own |= {"forecast": "noisy", "forecast_error": error} if self.noise > 0.0 else {"forecast": "perfect"}
            found |= {f"{at}.{field}": value for field, value in own.items()}
        return found

    @property
    def is_oracle(self) -> bool:
        """Whether it is the truth, or the truth with noise."""
        return self.label == "perfect" or self.noise is not None


def choices_of(names: Sequence[str], files: Mapping[str, str] | None = None) -> list[Choice]:
    """The forecasts of these names, in order. `files["carboncast"]` is the file of that name. Raises InputError."""
    found = [_choice(name.strip(), files or {}) for name in names]
    labels = [one.label for one in found]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"--forecasts: {label!r} appears twice; expected every forecast once")
    return found


def _choice(name: str, files: Mapping[str, str]) -> Choice:
    if match := re.fullmatch(rf"noise:({NUMBER})", name):
        noise = float(match[1])
        if noise < 0.0:
            raise InputError(f"--forecasts {name!r}: expected a factor of at least 0")
        return Choice(name, noise=noise)
    if name == "carboncast":
        if name not in files:
            raise InputError(
                "--forecasts 'carboncast': expected its file, as --forecast-file CISO.csv; noise:1 has its "
                "published error"
            )
        return Choice(name, file=files[name])
    kind, colon, path = name.partition(":")
    if kind == "file" and colon and path:
        return Choice(name, file=path)
    if name in NAMES and name != "noisy":
        return Choice(name)
    raise InputError(f"--forecasts {name!r}: expected some of {EXPECTED}")
