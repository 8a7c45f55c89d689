"""What a site's supply is reckoned with: weather, batteries, embodied carbon, prices; sources in docs/supply.md."""

from __future__ import annotations

from pydantic import Field

from caps_fast.section import NonNegative, Positive, Section, Share


class Assumptions(Section):
    """Figures beside the sizes of a supply. Money is in the currency of the region's prices."""

    latitude_deg: float = Field(37.0, ge=-66.0, le=66.0, description="of the built-in sun")
    longitude_deg: float = Field(-120.0, ge=-180.0, le=180.0, description="of the built-in sun, east positive")
    weather_seed: int = Field(18, ge=0, le=2**32 - 1, description="of the built-in clouds and wind")
    solar_capacity_factor: float = Field(0.24, gt=0, le=0.35, description="mean over the built-in sun's year")
    wind_capacity_factor: float = Field(0.34, gt=0, le=0.6, description="mean over the built-in wind's year")
    charge_efficiency: float = Field(0.97, gt=0, le=1)
    discharge_efficiency: float = Field(0.96, gt=0, le=1)
    depth_of_discharge: float = Field(1.0, gt=0, le=1, description="share of the battery's capacity that is used")
    cycles: Positive = Field(3000.0, le=1e6, description="full cycles of the usable capacity in the battery's life")
    fade: float = Field(0.2, ge=0, lt=1, description="share of the capacity that is lost over these cycles")
    battery_years: Positive = Field(15.0, le=100, description="the battery's life where cycles do not end it")
    low_quantile: Share = Field(0.25, description="price and carbon rules charge from the grid at or below it")
    high_quantile: Share = Field(0.5, description="price and carbon rules discharge at or above it")
    window_h: Positive = Field(24.0, le=8784, description="hours up to now of which these are quantiles")
    solar_kg_per_mwh: NonNegative = Field(55.0, le=1000, description="embodied carbon per MWh generated")
    wind_kg_per_mwh: NonNegative = Field(12.0, le=1000, description="embodied carbon per MWh generated")
    battery_kg_per_kwh: NonNegative = Field(74.0, le=1000, description="embodied carbon per kWh of capacity")
    solar_cost_per_mwh: NonNegative = Field(0.0, description="per MWh generated, used or not")
    wind_cost_per_mwh: NonNegative = Field(0.0, description="per MWh generated, used or not")
    battery_cost_per_kwh: NonNegative = Field(0.0, description="per kWh of capacity, over its life")

    @property
    def fade_per_kwh(self) -> float:
        """Usable capacity lost per energy taken out of the store: kWh per kWh."""
        return self.fade / self.cycles
