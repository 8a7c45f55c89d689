"""Training requests from a request trace: tenants, conversations, inputs and answers.

Without tenants in the file, a conversation takes the place of a tenant, since its earlier answers predict the next one.
What a file does not state stays unknown.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from caps_fast import arrays, scenario
from caps_fast.clock import trace_of
from caps_fast.records import Array
from caps_fast.workload.columns import columns_of
from caps_fast.workload.streams import stream

SEED = 0  # one model for all seeds


def requests_of(config: scenario.Scenario) -> tuple[Array, bool]:
    """The requests (REQUEST) of the scenario's trace in order, without estimates of their lengths, and whether the file
    has times.

    A tenant's tier is the file's or drawn by the tiers' shares; without times, gaps are drawn with mean 1 s. Draws are
    the same for every seed of the scenario. Raises InputError for a bad trace.
    """
    trace = trace_of(config.workload)
    frame = trace.frame
    if "tenant" not in frame.columns and "session" in frame.columns:
        alone = pl.format("request {}", pl.int_range(pl.len()))  # a request without a session has no known owner
        frame = frame.with_columns(tenant=pl.when(pl.col("session") == "").then(alone).otherwise("session"))
    requests = np.zeros(len(frame), arrays.REQUEST)
    requests["arrival_s"] = np.cumsum(stream(SEED, "arrivals").standard_exponential(len(frame)))
    requests["turns"] = 1
    requests["tier"] = stream(SEED, "tenants").choice(3, len(frame), p=[tier.share for tier in config.slo.all])
    for name, values in columns_of(frame, config, SEED).items():
        requests[name] = values
    return requests, trace.timed
