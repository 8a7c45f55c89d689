"""Assumptions about a site's supply: weather, batteries, embodied carbon, prices; sources in docs/supply.md."""

from __future__ import annotations

from pydantic import Field

from caps_fast.section import NonNegative, Positive, Section, Share


class Assumptions(Section):
    """Parameters of a supply apart from its sizes. Money is in the currency of the region's prices."""

    latitude_deg: float = Field(37.0, ge=-66.0, le=66.0, description="latitude of the built-in sun")
    longitude_deg: float = Field(
        -120.0, ge=-180.0, le=180.0, description="longitude of the built-in sun, east positive"
    )
    weather_seed: int = Field(18, ge=0, le=2**32 - 1, description="seed of the built-in clouds and wind")
    solar_capacity_factor: float = Field(
        0.24, gt=0, le=0.35, description="mean capacity factor over the built-in sun's year"
    )
    wind_capacity_factor: float = Field(
        0.34, gt=0, le=0.6, description="mean capacity factor over the built-in wind's year"
    )
    charge_efficiency: float = Field(0.97, gt=0, le=1)
    discharge_efficiency: float = Field(0.96, gt=0, le=1)
    depth_of_discharge: float = Field(1.0, gt=0, le=1, description="share of the battery's capacity that is used")
    cycles: Positive = Field(3000.0, le=1e6, description="full cycles of the usable capacity in the battery's life")
    fade: float = Field(0.2, ge=0, lt=1, description="share of the capacity lost over these cycles")
    battery_years: Positive = Field(15.0, le=100, description="life of the battery if cycles do not end it")
    low_quantile: Share = Field(
        0.25, description="price and carbon rules charge from the grid at or below this quantile"
    )
    high_quantile: Share = Field(0.5, description="price and carbon rules discharge at or above this quantile")
    window_h: Positive = Field(24.0, le=8784, description="window of the quantiles, hours up to now")
    solar_kg_per_mwh: NonNegative = Field(55.0, le=1000, description="embodied carbon per MWh generated")
    wind_kg_per_mwh: NonNegative = Field(12.0, le=1000, description="embodied carbon per MWh generated")
    battery_kg_per_kwh: NonNegative = Field(74.0, le=1000, description="embodied carbon per kWh of capacity")
    solar_cost_per_mwh: NonNegative = Field(0.0, description="price per MWh generated, used or not")
    wind_cost_per_mwh: NonNegative = Field(0.0, description="price per MWh generated, used or not")
    battery_cost_per_kwh: NonNegative = Field(0.0, description="price per kWh of capacity, over its life")

    @property
    def fade_per_kwh(self) -> float:
        """Usable capacity lost per energy discharged: kWh per kWh."""
        return self.fade / self.cycles
