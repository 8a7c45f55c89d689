"""Sweeps: grids over any field of a scenario, run on every core, resumed after anything, answered from one Parquet file."""

from __future__ import annotations

from caps_fast.sweep.drive import Swept, check, sweep
from caps_fast.sweep.fanout import Workers
from caps_fast.sweep.file import read as load
from caps_fast.sweep.plan import Grid, Plan
from caps_fast.sweep.store import read

__all__ = ["Grid", "Plan", "Swept", "Workers", "check", "load", "read", "sweep"]
