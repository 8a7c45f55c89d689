"""Names of the built-in policies, apart from their code, which takes a while to import."""

from __future__ import annotations

ABOUT = {
    "round-robin": "every request to the next GPU",
    "edf": "earliest deadline first, in one queue or one a GPU (policy.queueing)",
    "slo-aware": "a pool a tier: Gold to LP, Silver to CP, Bronze to BP",
    "carbon-aware": "starts work only in low-carbon hours, blind to SLOs",
    "caps": "the best score of goodput, carbon and SLO risk (Eq. 4) over the pools, with gates and pre-emption",
    "caps-no-predictor": "CAPS with mean output lengths and no SLO risk",
    "caps-no-carbon": "CAPS with beta = 0: all gates open",
    "caps-no-tiers": "CAPS with all requests judged alike and none pre-empted",
    "caps-geo": "CAPS over several regions: round trips in V, forecasts, PUE and links in E",
    "greencourier": "the region of the best carbon score, as GreenCourier",
    "follow-the-sun": "the region where the sun stands highest",
    "gaia": "every request that may wait starts when carbon is worth the waiting, as GAIA",
    "carbon-scaler": "batch pools get replicas where an hour gives the most work per unit of carbon, as CarbonScaler",
    "green": "batch work in levels, in the hours that the day needs, on full replicas, as GREEN",
    "wait-awhile": "SLO-Aware's pools; work that may wait starts below a quantile of the next day's intensity",
    "caps-elastic": (
        "CAPS over a fleet whose size and placement it decides too, at a stated quantile of load, lengths and grid"
    ),
    "caps-adaptive": "CAPS whose prices and gates follow an attainment target",
}
MAIN = ("round-robin", "edf", "slo-aware", "carbon-aware", "caps")
ABLATIONS = ("caps-no-predictor", "caps-no-carbon", "caps-no-tiers")
