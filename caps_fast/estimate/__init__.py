"""A replica's speed and power without measurements: from the model's config and the GPU's data sheet."""

from __future__ import annotations

from caps_fast.estimate.gpu import DataSheet, data_sheet, data_sheets
from caps_fast.estimate.model import Model, read_model
from caps_fast.estimate.roofline import Estimate, estimate

__all__ = ["DataSheet", "Estimate", "Model", "data_sheet", "data_sheets", "estimate", "read_model"]
