"""Regions and their grids, limits of tiers, origins of requests, requests in transit. No logic."""

from __future__ import annotations

from caps_fast.records import Record, f8, i1, i4, i8


class Region(Record):
    """A grid: the intensity in force, and what the controller read at the last control step."""

    g_per_kwh: f8  # intensity in force
    gamma: f8
    threshold: f8
    carbon_first: i8  # its samples, and the one in force
    carbon_last: i8
    carbon_at: i8
    threshold_last: i8
    threshold_at: i8
    issue_first: i8
    issue_last: i8
    issue_at: i8
    relative_pue: f8  # its PUE over the least one
    limit_w: f8  # that its replicas may draw, without PUE; inf where nothing is said
    reduced_w: f8  # between two times
    reduced_from_s: f8
    reduced_to_s: f8
    noon_s: f8  # a time at which the sun is highest; its height is sun_base + sun_swing cos(2 pi (t - noon_s) / day)
    sun_base: f8
    sun_swing: f8
    forecast_at: i8  # start of its forecasts, and number of slots of each
    leads: i8
    forecast_step_s: f8


class Tier(Record):
    """Limits of one SLO tier; inf without a limit."""

    ttft_s: f8
    tpot_s: f8
    e2e_s: f8
    ttft_after_release_s: f8
    deadline_s: f8
    roles: i8  # bit set of the roles it may enter
    regions: i8  # bit set of the regions that may serve it


class Origin(Record):
    """Where requests come from."""

    regions: i8  # bit set of the regions that may serve them
    home: i4  # region where their context lies; NONE = nothing to move


class Transit(Record):
    """Requests whose context is in transit to their queue: a pairing heap by arrival time."""

    due_s: f8  # of the first
    moved: i8  # requests that have set out
    moved_tokens: i8  # their input
    root: i4
    queue: i4  # that the last arrival joins
    left: i1  # it has set out for it
