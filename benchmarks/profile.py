"""Where the time of a run goes, by leaving parts out, and the physical limits beside it: random variates and memory
traffic.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from caps_fast import arrays
from caps_fast.choose import make_policy
from caps_fast.predictor import Lengths, warmup_requests, with_predictions
from caps_fast.scenario import Scenario
from caps_fast.simulation import BLOCK, Run, prepare, simulate
from caps_fast.workload import workload_of

from .measure import Work, seconds_of, turns_of
from .scenarios import DECLARED, LEARNED, RATE_A_GPU, draw, drawing, fleet, paper, simulating

COPY_BYTES = 64_000_000


@dataclass(frozen=True)
class Part:
    """A part of the cost, ns a request, and how it was found."""

    name: str
    ns: float
    how: str


@dataclass(frozen=True)
class Profile:
    """Parts of the cost of CAPS with its learned predictor, and facts about the machine and the state."""

    total_ns: float
    parts: list[Part]
    facts: list[str]


def profile(days: float, rounds: int) -> Profile:
    """Time the paper's scenario whole and with parts left out, all by turns."""
    requests = days * 86400 * 24 * RATE_A_GPU
    simple = paper("slo-aware", days)
    histories_work, predicting_work = _predictions(paper(LEARNED, days))
    works = {
        "drawing": drawing(simple),
        "predicting": predicting_work,
        "histories": histories_work,
        "slo-aware": simulating(simple),
        "one token": simulating(paper("slo-aware", days, workload__output_log_mean=0.0, workload__output_log_sd=0.0)),
        "rare control": simulating(paper("slo-aware", days, control_step_s=600.0)),
        "one GPU": simulating(fleet("round-robin", 1, requests, pools=1)),
        "round-robin": simulating(paper("round-robin", days)),
        "open": simulating(paper("caps-no-carbon", days)),
        "open, rare control": simulating(paper("caps-no-carbon", days, control_step_s=600.0)),
        "declared": simulating(paper(DECLARED, days)),
        "learned": simulating(paper(LEARNED, days)),
    }
    ns = {label: seconds * 1e9 for label, seconds in _least(works, rounds).items()}
    predicting = ns["predicting"] - ns["drawing"]
    histories = ns["histories"] / requests
    control = ns["slo-aware"] - ns["rare control"]
    gates = ns["open"] - ns["open, rare control"] - control
    parts = [
        Part("drawing the workload", ns["drawing"], "alone"),
        Part(
            "arrival, queue, admission, prompt, books",
            ns["one token"] - ns["drawing"] - control,
            "SLO-Aware with outputs of one token",
        ),
        Part("decoding: leaps, heaps, energy, carbon", ns["slo-aware"] - ns["one token"], "SLO-Aware less that"),
        Part("control steps", control, "every second against every ten minutes"),
        Part("gates and plans", gates, "the same under CAPS, less the above"),
        Part(
            "pools scored, risk in closed form, pre-emption",
            ns["open"] - ns["slo-aware"] - gates,
            "CAPS without carbon less SLO-Aware",
        ),
        Part(
            "carbon: forecasts, held work, other batches", ns["declared"] - ns["open"], "CAPS less CAPS without carbon"
        ),
        Part("predicting output lengths", predicting, "block-wise pass less drawing"),
        Part("tenants' histories before t = 0", histories, "100,000 earlier requests, once a run"),
        Part(
            "learned risk, not the closed form",
            ns["learned"] - ns["declared"] - predicting - histories,
            "CAPS learned less declared, less both",
        ),
    ]
    facts = [
        f"24 GPUs and their events instead of one: {ns['round-robin'] - ns['one GPU']:.0f} ns a request (Round "
        "Robin, same load per GPU)",
        _leaps(simple),
        *_memory(paper(LEARNED, days)),
    ]
    return Profile(ns["learned"], parts, facts)


def _least(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """CPU seconds a unit: the least of the rounds, after one to warm up."""
    turns = turns_of(works, time.process_time)
    least = dict.fromkeys(turns, np.inf)
    for _ in range(rounds):
        for label, turn in turns.items():
            least[label] = min(least[label], seconds_of(turn.run, time.process_time) / turn.units)
    return least


def _predictions(config: Scenario) -> tuple[Work, Work]:
    """Learning the tenants' histories before t = 0; and drawing the requests and predicting their output lengths."""
    lengths = with_predictions(make_policy(config), config)[1]
    assert lengths is not None
    view = Lengths(lengths, warmup_requests(config))

    def predict() -> None:
        for block in workload_of(config).blocks(BLOCK):
            view(block)

    return Work(lambda: Lengths(lengths, warmup_requests(config))), Work(predict, draw(config))


def _leaps(config: Scenario) -> str:
    found = simulate(config).outcome
    return f"{found.events / found.metrics['requests']:.2f} leaps over equal iterations a request under SLO-Aware"


def _memory(config: Scenario) -> list[str]:
    """The state's size, and what moving a request's bytes costs at the least, by this machine's copy bandwidth."""
    run = _after_a_block(config)
    state: Any = run.state
    size = sum(array.nbytes for array in state if isinstance(array, np.ndarray))
    risk = sum(array.nbytes for array in getattr(run.policy, "learned", ()))
    draws = 8 * 8
    moved = 2 * draws + 2 * arrays.REQUEST.itemsize + 2 * arrays.LIVE.itemsize
    bandwidth = _copy_bytes_a_s()
    parts = (
        f"{state.live.nbytes / 1e6:.2f} MB of it requests in the system, {state.block.nbytes / 1e6:.2f} MB a block "
        "of arrivals"
    )
    return [
        f"state of a run: {size / 1e6:.2f} MB, {parts}; tables of the learned risk: {risk / 1e6:.2f} MB",
        f"memory traffic: at the least {moved} bytes a request (draws, arrival and live record, each written and "
        "read once), "
        f"{moved / bandwidth * 1e9:.0f} ns at this machine's copy bandwidth of {bandwidth / 1e9:.1f} GB/s",
    ]


def _after_a_block(config: Scenario) -> Run:
    source = workload_of(config)
    run = Run.start(prepare(config))
    first, second = (block for _, block in zip(range(2), source.blocks(BLOCK), strict=False))
    run.feed(first, float(second["arrival_s"][0]))
    return run


def _copy_bytes_a_s() -> float:
    """Bytes read and written a second by a large copy."""
    source, target = np.ones(COPY_BYTES // 8), np.empty(COPY_BYTES // 8)
    least = _least({"copy": Work(lambda: np.copyto(target, source))}, 5)["copy"]
    return 2 * COPY_BYTES / least
