"""The sections of a region: its grid, what the scheduler sees of it, prices and PUE, in user units."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from caps_fast.section import LATER, NonNegative, Positive, Section, Share
from caps_fast.site import Site

Intensity = Annotated[float, Field(ge=0, le=5000, allow_inf_nan=False)]  # g/kWh; above the intensity of any grid
MOST_PRICE = 1e6
Price = Annotated[float, Field(ge=-MOST_PRICE, le=MOST_PRICE, allow_inf_nan=False)]  # per kWh; may be below 0


class Carbon(Section):
    """Grid carbon intensity: built in (CAISO-shaped) or from a file."""

    file: str | None = Field(None, description="carbon file; none = built in")
    format: str | None = Field(None, description="name of the file's format; none = detect from content")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="time, value, zone, issued_at to the file's column names, if these are unclear",
    )
    time_zone: str | None = Field(None, description="time zone of dates without an offset; none = UTC")
    time_format: str | None = Field(
        None, description="format of the file's dates, as for strptime; none = detect from content"
    )
    interval: Literal["start", "end"] | None = Field(
        None,
        description="whether times are the start or the end of their intervals; none = as the file states, else start",
    )
    zone: str | None = Field(None, description="zone to use, if the file has several")
    scope: Literal["lifecycle", "direct"] = "lifecycle"
    kind: Literal["average", "marginal"] = "average"
    start: str | None = Field(
        None,
        description=(
            "date or time of the file (UTC) that is t = 0; none = aligned with the trace's date or `start`, else its "
            "first sample"
        ),
    )
    fill_gaps: Literal["no", "previous", "linear"] = "no"
    unit: Literal["g/kWh", "kg/kWh", "t/kWh", "lb/kWh", "g/MWh", "kg/MWh", "t/MWh", "lb/MWh"] | None = Field(
        None, description="unit of the values, if the file does not state it"
    )
    scale_to_g_per_kwh: tuple[Intensity, Intensity] | None = Field(
        None, description="built-in trace: stretch its range to these two values"
    )
    day_to_day_sd: Share = Field(0.06, description="built-in trace: standard deviation of a day's level")

    @model_validator(mode="after")
    def _scale_rises(self) -> Self:
        if self.scale_to_g_per_kwh and self.scale_to_g_per_kwh[0] >= self.scale_to_g_per_kwh[1]:
            raise ValueError(f"scale_to_g_per_kwh {self.scale_to_g_per_kwh}: expected low < high")
        return self


class Monitor(Section):
    """The carbon and energy monitor: what the scheduler sees of the grid."""

    window_h: Positive = Field(168.0, le=1e6, description="rolling window of intensity for the quantile")
    gate_quantile: Share = Field(0.5, description="gate threshold as a quantile of the rolling window")
    gate_g_per_kwh: NonNegative | None = Field(None, description="gate threshold as a value; overrides the quantile")
    forecast: str = Field("perfect", description="perfect, persistence, yesterday, last-week, noisy, learned, or file")
    forecast_file: str | None = Field(None, description="forecasts with issue times (CarbonCast, or the common schema)")
    forecast_hours: int = Field(96, ge=1, le=240)
    forecast_error: tuple[NonNegative, ...] = Field(
        (0.065, 0.147, 0.197, 0.218), description="noisy: mean absolute percentage error by lead day, 0..1"
    )


class Region(Site):
    """A grid, what the scheduler sees of it, PUE and prices."""

    carbon: Carbon = Carbon()
    marginal: Carbon | None = Field(
        None,
        json_schema_extra=LATER,
        description="marginal intensity, in addition to the average of `carbon`; the bill is then in both",
    )
    decide_on: Literal["average", "marginal"] = Field(
        "average", json_schema_extra=LATER, description="which of the two policies see; the accounts use both"
    )
    monitor: Monitor = Monitor()
    pue: float = Field(1.0, ge=1, le=10, description="power usage effectiveness: the bill counts energy times this")
    price_per_kwh: Price = Field(0.0, description="price of a kWh, in any currency")
    price_by_hour: tuple[Price, ...] | None = Field(
        None, description="price of a kWh by hour of the day (UTC), 24 values, in place of price_per_kwh"
    )
    price_file: str | None = Field(
        None, description="CSV with columns time and price_per_kwh, in place of price_per_kwh"
    )
    water_l_per_kwh: NonNegative = Field(0.0, le=1000, description="litres of water per kWh of the replicas (WUE)")
    latitude: float | None = Field(
        None, ge=-90, le=90, json_schema_extra=LATER, description="degrees north, for follow-the-sun; none = 0"
    )
    longitude: float | None = Field(
        None, ge=-180, le=180, json_schema_extra=LATER, description="degrees east, for follow-the-sun"
    )

    @field_validator("marginal", mode="before")
    @classmethod
    def _is_marginal(cls, value: Any) -> Any:
        return {"kind": "marginal", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _two_signals(self) -> Self:
        if self.marginal is not None and (self.carbon.kind, self.marginal.kind) != ("average", "marginal"):
            raise ValueError(
                f"carbon.kind {self.carbon.kind}, marginal.kind {self.marginal.kind}: expected average and marginal"
            )
        if self.marginal is None and self.decide_on == "marginal":
            raise ValueError("decide_on marginal: expected marginal intensity in addition to carbon")
        return self

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        said = [name for name in ("price_per_kwh", "price_by_hour", "price_file") if getattr(self, name)]
        if len(said) > 1:
            raise ValueError(f"{said[0]} together with {said[1]}: expected one of them")
        if self.price_by_hour is not None and len(self.price_by_hour) != 24:
            raise ValueError(
                f"price_by_hour: {len(self.price_by_hour)} prices: expected 24, one for each hour of the day"
            )
        return self
