"""Figures and one self-contained page, from Parquet only."""

from __future__ import annotations

from caps_fast.report.rates import rate_curves

__all__ = ["rate_curves"]
