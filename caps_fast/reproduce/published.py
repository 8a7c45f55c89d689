"""The paper's published figures, as data.

Source: Multi-Objective Scheduling for Large Language Model Inference with Prompt-Level Cost Prediction and SLO
Awareness, preprint of 18 April 2026, CC BY 4.0. Only calibration targets and the comparison with ours may use this
module; a test keeps it so.
"""

from __future__ import annotations

from dataclasses import dataclass

RATE_RPS = 10.0
"""Load of Table 1, Figure 3 and the ablations."""


@dataclass(frozen=True)
class Row:
    """One line of Table 1. The paper does not define its latency; docs/reproduction.md discusses candidates."""

    slo_attainment: float
    carbon_g_per_1k_tokens: float
    p95_s: float
    carbon_g_per_1k_good_tokens: float


TABLE1 = {
    "round-robin": Row(0.628, 14.5, 0.890, 23.1),
    "edf": Row(0.735, 14.2, 0.680, 19.3),
    "slo-aware": Row(0.821, 14.1, 0.570, 17.2),
    "carbon-aware": Row(0.632, 10.3, 1.020, 16.3),
    "caps": Row(0.835, 10.6, 0.640, 12.7),
}

SAVING = 0.268
"""Carbon per 1K tokens, CAPS under Round Robin (section Main Results)."""
TRAILS_CARBON_AWARE = 0.029
P95_BELOW_CARBON_AWARE = 0.373

NO_PREDICTOR_SLO = 0.782
NO_CARBON_SLO = 0.851
NO_CARBON_EXTRA = 0.349
"""Carbon per 1K tokens without the carbon term, over full CAPS (section Ablation Study)."""
NO_TIERS_SLO_CHANGE = -0.028

LARGEST_CELL_SAVING = 0.491
"""Bronze, agentic, high carbon (Figure 3a)."""
SMALLEST_CELL_SAVING = (0.052, 0.115)
"""Gold, short (Figure 3a)."""

STANDARD_DEVIATION = 0.015
"""Over five seeds, relative, all metrics stay under this (section Setup)."""


@dataclass(frozen=True)
class PredictorRow:
    """The predictor on the held-out part."""

    mae_tokens: float
    mape: float
    auroc: float
    latency_ms: float


PREDICTOR = PredictorRow(38.6, 0.182, 0.87, 0.1)
