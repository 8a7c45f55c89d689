"""Accounts of requests: closing them, latency histograms, sums by carbon level, category and tier."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caps_fast._jit import inlined
from caps_fast.arrays import (
    E2E,
    FIRST_EXPONENT,
    HISTOGRAM_BINS,
    N_CATEGORIES,
    N_TIERS,
    NONE,
    SLACK,
    SUB_BIN_BITS,
    TPOT,
    TTFT,
    TTFT_AFTER_RELEASE,
    State,
)
from caps_fast.engine import turns
from caps_fast.engine.speed import delay_s
from caps_fast.outcomes import FINISHED, REJECTED
from caps_fast.policy import observe
from caps_fast.traits import has_origins, sessions


@inlined
def bin_of(value_s: float) -> int:
    """Histogram bin of a latency: SUB_BINS equal bins in every octave from 2 ** FIRST_EXPONENT, taken from the bits of
    the float.
    """
    bits: Any = np.float64(value_s).view(np.int64)
    at = (bits >> (52 - SUB_BIN_BITS)) - ((1023 + FIRST_EXPONENT) << SUB_BIN_BITS)
    return min(max(at, 0), HISTOGRAM_BINS - 1)


@inlined
def cell_of(request: Any) -> int:
    """Index of a live request's account."""
    return (request.level * N_CATEGORIES + request.category) * N_TIERS + request.tier


@inlined
def finish(s: State, policy: Any, g: int, r: int) -> None:
    """Check request `r`, which ends on replica `g` now, against its SLO, report it to the policy, close its account and
    free its entry.
    """
    clock = s.clock[0]
    request = s.live[r]
    seen_s = clock.now_s + delay_s(s, g, r)
    output_tokens = request.output_tokens
    ttft_s = request.first_token_s - request.arrival_s
    after_release_s = request.first_token_s - request.released_s
    e2e_s = seen_s - request.arrival_s
    tpot_s = (seen_s - request.first_token_s) / (output_tokens - 1) if output_tokens > 1 else 0.0
    tier = s.tiers[request.tier]
    met = (
        ttft_s <= tier.ttft_s * SLACK
        and e2e_s <= tier.e2e_s * SLACK
        and after_release_s <= tier.ttft_after_release_s * SLACK
    )
    met = met and tpot_s <= tier.tpot_s * SLACK
    request.met = met
    observe(policy, clock.now_s, r, s)
    histogram = s.histograms[request.tier]
    cell = s.cells[cell_of(request)]
    if output_tokens > 1:
        histogram[TPOT, bin_of(tpot_s)] += 1
        cell.tpot_s += tpot_s
    histogram[TTFT, bin_of(ttft_s)] += 1
    histogram[TTFT_AFTER_RELEASE, bin_of(after_release_s)] += 1
    histogram[E2E, bin_of(e2e_s)] += 1
    cell.ttft_s += ttft_s
    cell.ttft_after_release_s += after_release_s
    cell.e2e_s += e2e_s
    cell.finished += 1
    cell.output_tokens += output_tokens
    cell.energy_j += request.energy_j
    cell.carbon_g += request.carbon_g
    if met:
        cell.met += 1
        cell.good_tokens += output_tokens
    if request.held:
        cell.held += 1
        cell.held_tokens += output_tokens
        cell.deferral_s += request.released_s - request.arrival_s
    s.pools[s.gpus[g].pool].requests += 1
    clock.last_completion_s = clock.now_s
    if s.setup[0].record:
        _record(s, r, seen_s, s.gpus[g].pool, FINISHED)
    turns.answered(s, r, seen_s)
    _free(s, r)


@inlined
def reject(s: State, r: int) -> None:
    """Count request `r`, which has just arrived, as rejected and free its entry."""
    request = s.live[r]
    s.cells[cell_of(request)].rejected += 1
    if s.setup[0].record:
        request.released_s = request.admitted_s = request.first_token_s = math.nan
        request.energy_j = request.carbon_g = 0.0
        request.gpu = NONE
        request.met = 0
        _record(s, r, math.nan, NONE, REJECTED)
    turns.turned_away(s, r)
    _free(s, r)


@inlined
def _free(s: State, r: int) -> None:
    """Release the entry of request `r` for reuse."""
    clock = s.clock[0]
    s.free[clock.free] = r
    clock.free += 1
    clock.live -= 1


@inlined
def _record(s: State, r: int, seen_s: float, pool: int, outcome: int) -> None:
    """Append request `r` to the completed requests."""
    request = s.live[r]
    done = s.done[s.clock[0].done]
    done.seq = request.seq
    done.arrival_s = request.arrival_s
    done.released_s = request.released_s
    done.admitted_s = request.admitted_s
    done.first_token_s = request.first_token_s
    done.finished_s = seen_s
    done.energy_j = request.energy_j
    done.carbon_g = request.carbon_g
    done.input_tokens = request.input_tokens
    done.output_tokens = request.output_tokens
    done.tenant = request.tenant
    done.gpu = request.gpu
    done.pool = pool
    done.tier = request.tier
    done.category = request.category
    if has_origins(s):
        done.origin = request.origin
    done.met = request.met
    done.outcome = outcome
    if sessions(s):
        at = s.session_of[r]
        done.session = s.sessions[at].number if at != NONE else NONE
        done.turn = s.sessions[at].turn if at != NONE else NONE
    s.clock[0].done += 1
