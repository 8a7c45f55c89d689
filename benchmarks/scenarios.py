"""The scenarios that are timed, all made from the preset `paper`."""

from __future__ import annotations

from typing import Any

from caps_fast import scenario, sections
from caps_fast.pack_kinds import Means
from caps_fast.predictor import explore
from caps_fast.scenario import Scenario
from caps_fast.simulation import BLOCK, simulate
from caps_fast.workload import workload_of

from .measure import Work

LEARNED = "caps, learned predictor"
DECLARED = "caps, declared predictor"
POLICIES = ("round-robin", "edf", "slo-aware", "carbon-aware", DECLARED, LEARNED)
RATE_A_GPU = 10.0 / 24.0


def paper(policy: str, days: float, **changes: Any) -> Scenario:
    """The paper's cluster; `changes` are dotted fields with `__` for the dot."""
    name, source = {LEARNED: ("caps", "learned"), DECLARED: ("caps", "declared")}.get(policy, (policy, "declared"))
    fields = {"policy.name": name, "predictor.source": source, "days": days, "workload.rate_rps": 10.0}
    return scenario.preset("paper").replace(
        fields | {field.replace("__", "."): value for field, value in changes.items()}
    )


def fleet(policy: str, gpus: int, requests: float, pools: int = 3, **changes: Any) -> Scenario:
    """So many GPUs in so many pools of the three roles, at the paper's load per GPU unless `rate` is given; EDF has
    one queue.
    """
    rate = changes.pop("rate", gpus * RATE_A_GPU)
    sizes = [gpus // pools + (index < gpus % pools) for index in range(pools)]
    roles = [sections.ROLES[index * 3 // pools] for index in range(pools)]
    layout = {"policy__queueing": "central"}
    shape = {"cluster__gpus": gpus, "cluster__split": "/".join(map(str, sizes)), "cluster__roles": "/".join(roles)}
    return paper(policy, requests / rate / 86400.0, workload__rate_rps=rate, **layout | shape | changes)


def capacity_rps(config: Scenario) -> float:
    """Requests a second that the GPUs can finish with full batches, about: prompts and decoding take turns."""
    workload = workload_of(config)
    return explore.capacity_rps(config, Means(workload.mean_input_tokens, workload.mean_output_tokens))


def drawing(config: Scenario) -> Work:
    """Drawing the scenario's requests, and nothing else."""
    return Work(lambda: draw(config), draw(config))


def simulating(config: Scenario) -> Work:
    """Simulating the scenario, its drawing included; that every request is accounted for is checked each time."""
    arrived = draw(config)

    def run() -> None:
        found = simulate(config).outcome
        finished, requests = (int(found.accounts[name].sum()) for name in ("finished", "requests"))
        assert finished + found.unfinished == requests == arrived
        assert config.drain_h == 0 or found.unfinished < 0.01 * arrived  # what CAPS holds longer than the drain

    return Work(run, arrived)


def starting(config: Scenario) -> Work:
    """A run of the scenario to which nobody comes."""
    empty = config.replace({"days": 1e-9})
    return Work(lambda: simulate(empty), once=True)


def draw(config: Scenario) -> int:
    """The number of requests, having drawn them all."""
    return sum(len(block) for block in workload_of(config).blocks(BLOCK))
