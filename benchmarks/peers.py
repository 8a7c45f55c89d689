"""One queue in three simulators: Poisson arrivals, exponential service, 24 servers, first come first served."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import ciw
import numpy as np
import simpy

from caps_fast import arrays
from caps_fast.arrays import Array
from caps_fast.pack_kinds import Means
from caps_fast.scenario import Scenario
from caps_fast.simulation import Recording, Run, prepare

from .scenarios import paper

SERVERS = 24
SERVICE_S = 10.0
ARRIVALS_RPS = 0.8 * SERVERS / SERVICE_S
TOKEN_S = 0.001  # our service times are whole tokens of a millisecond
BLOCK = 16_384


def simpy_waits_s(seed: int, customers: int) -> list[float]:
    """Waits in SimPy: a process a customer, a resource of 24."""
    draw = random.Random(seed)
    world = simpy.Environment()
    servers = simpy.Resource(world, SERVERS)
    waits_s = []

    def customer() -> Iterator[Any]:
        came_s = world.now
        with servers.request() as place:
            yield place
            waits_s.append(world.now - came_s)
            yield world.timeout(draw.expovariate(1 / SERVICE_S))

    def source() -> Iterator[Any]:
        for _ in range(customers):
            yield world.timeout(draw.expovariate(ARRIVALS_RPS))
            world.process(customer())

    world.process(source())
    world.run()
    return waits_s


def ciw_waits_s(seed: int, customers: int) -> list[float]:
    """Waits in Ciw."""
    arrivals, services = ciw.dists.Exponential(ARRIVALS_RPS), ciw.dists.Exponential(1 / SERVICE_S)
    network = ciw.create_network(
        arrival_distributions=[arrivals], service_distributions=[services], number_of_servers=[SERVERS]
    )
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(customers, method="Finish")
    return [record.waiting_time for record in simulation.get_all_records()]


def our_waits_s(seed: int, customers: int) -> Array:
    """Waits in the kernel: GPUs that take one request at a time, a token a millisecond, under EDF with one deadline
    for all.
    """
    rows = our_queue(seed, customers, record=True).requests
    assert rows is not None
    return np.asarray(rows["admitted_s"] - rows["arrival_s"])


def our_queue(seed: int, customers: int, record: bool = False) -> Any:
    """The result of the same queue in the kernel."""
    rng = np.random.default_rng(seed)
    run = Run.start(prepare(_one_at_a_time(customers), Means(1.0, SERVICE_S / TOKEN_S)), Recording(requests=record))
    now_s, left = 0.0, customers
    block = _customers(rng, now_s, min(BLOCK, left))
    while len(block):
        left -= len(block)
        following = _customers(rng, block["arrival_s"][-1], min(BLOCK, left))
        until_s = following["arrival_s"][0] if len(following) else math.nextafter(block["arrival_s"][-1], math.inf)
        run.feed(block, float(until_s))
        block = following
    return run.finish()


def expected_wait_s() -> float:
    """Erlang's C formula for the mean wait."""
    offered = ARRIVALS_RPS * SERVICE_S
    blocked = 1.0
    for servers in range(1, SERVERS + 1):
        blocked = offered * blocked / (servers + offered * blocked)
    waits = blocked / (1 - offered / SERVERS * (1 - blocked))
    return waits / (SERVERS / SERVICE_S - ARRIVALS_RPS)


def _customers(rng: np.random.Generator, after_s: float, count: int) -> Array:
    block = np.zeros(count, arrays.REQUEST)
    block["arrival_s"] = after_s + np.cumsum(rng.exponential(1 / ARRIVALS_RPS, count))
    block["input_tokens"] = 1
    block["output_tokens"] = np.maximum(np.rint(rng.exponential(SERVICE_S / TOKEN_S, count)), 1)
    return block


def _one_at_a_time(customers: int) -> Scenario:
    speed = {"gpu__decode_base_s": TOKEN_S, "gpu__decode_s_per_seq": 0.0, "gpu__prefill_s_per_token": 1e-12}
    days = 1.2 * customers / ARRIVALS_RPS / 86400
    return paper("edf", days, policy__queueing="central", cluster__max_batch=1, cluster__prefill="unchunked", **speed)
