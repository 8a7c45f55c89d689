"""Names of the built-in policies, separate from their code, which is slow to import."""

from __future__ import annotations

ABOUT = {
    "round-robin": "every request to the next GPU",
    "edf": "earliest deadline first, in one queue or one per GPU (policy.queueing)",
    "slo-aware": "one pool per tier: Gold to LP, Silver to CP, Bronze to BP",
    "carbon-aware": "starts work only in low-carbon hours, whatever the SLOs",
    "caps": "the best score of goodput, carbon and SLO risk (Eq. 4) over the pools, with gates and pre-emption",
    "caps-no-predictor": "CAPS with mean output lengths and no SLO risk",
    "caps-no-carbon": "CAPS with beta = 0: all gates open",
    "caps-no-tiers": "CAPS with the same limits for all requests and no pre-emption",
    "caps-geo": "CAPS over several regions: round trips in V, forecasts, PUE and links in E",
    "greencourier": "the region of the best carbon score, as in GreenCourier",
    "follow-the-sun": "the region where the sun stands highest",
    "gaia": "requests that may wait start when the saved carbon is worth the wait, as in GAIA",
    "carbon-scaler": "batch pools get replicas in the hours of most work per unit of carbon, as in CarbonScaler",
    "green": "batch work in levels, in as many clean hours as the day needs, on full replicas, as in GREEN",
    "wait-awhile": "SLO-Aware's pools; work that may wait starts below a quantile of the next day's intensity",
    "caps-elastic": ("CAPS that also decides fleet size and placement, at a stated quantile of load, lengths and grid"),
    "caps-adaptive": "CAPS whose prices and gates follow an attainment target",
}
MAIN = ("round-robin", "edf", "slo-aware", "carbon-aware", "caps")
ABLATIONS = ("caps-no-predictor", "caps-no-carbon", "caps-no-tiers")
