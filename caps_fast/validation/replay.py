"""Replay of a log's requests by the kernel, with one queue over the replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from caps_fast import arrays, records
from caps_fast.errors import InputError
from caps_fast.outcome import Outcome
from caps_fast.pack_kinds import Means
from caps_fast.records import Array
from caps_fast.replica_section import Kind
from caps_fast.scenario import Scenario, preset
from caps_fast.simulation import Prepared, Recording, Run, prepare
from caps_fast.validation.log import RequestLog

ENGINE = {
    "cluster.max_batch": 256,
    "cluster.prefill": "chunked",
    "cluster.chunk_tokens": 8192,
    "cluster.kv_capacity_tokens": None,
}
"""Default limits of the engine: vLLM's on a large GPU, KV memory without limit; with a limit it grows block by block.
"""
QUEUE = {
    "policy.name": "edf",
    "policy.queueing": "central",
    "policy.placement": "residents",
    "predictor.source": "declared",
}
"""First come, first served, from one queue to the replica with the fewest residents."""
UNKNOWN = {
    "gpu.profile": None,
    "gpu.prefill_s_per_token": 1e-4,
    "gpu.decode_base_s": 0.01,
    "gpu.decode_s_per_seq": 1e-4,
}
"""A placeholder speed, which `Replay.play` replaces."""
OURS = ("cluster.gpus", "cluster.split", "cluster.roles", "days", "drain_h")
DRAIN_H = 24.0 * 30
CONTROLS = 1000  # control steps of a short log, at which power is read


@dataclass(frozen=True)
class Played:
    """Simulated latencies of a log's requests, in the log's order; nan for one that is not finished a month after the
    last arrival.
    """

    ttft_s: Array
    e2e_s: Array
    result: Outcome

    @property
    def mean_power_w(self) -> float:
        """Mean power of all replicas, including idle ones, from the first arrival to the last completion."""
        return self.result.metrics["mean_power_w"]


def engine_scenario(profile: str | None, replicas: int, settings: Mapping[str, Any]) -> Scenario:
    """The scenario of a log's replay: replicas of one kind behind one queue. Raises InputError."""
    for name in settings:
        if name in OURS or name.startswith("workload."):
            expected = "--replicas" if name.startswith("cluster.") else "none: the log determines it"
            raise InputError(f"--set {name}: expected {expected}")
    placed = {"cluster.gpus": replicas, "cluster.split": str(replicas), "cluster.roles": "LP", "drain_h": DRAIN_H}
    speed = {"gpu.profile": profile} if profile is not None else UNKNOWN
    memory = {"cluster.kv": "grow"} if settings.get("cluster.kv_capacity_tokens") is not None else {}
    return preset("measured").replace({**placed, **QUEUE, **speed, **ENGINE, **memory, **settings})


class Replay:
    """Replays of one log; everything except the replicas' speed and power is prepared once."""

    def __init__(self, log: RequestLog, config: Scenario) -> None:
        last_s = float(log.arrival_s[-1])
        days = max(last_s, 1.0) * (1 + 1e-9) / arrays.SECONDS_PER_DAY
        config = config.replace({"days": days, "control_step_s": float(np.clip(last_s / CONTROLS, 1e-3, 1.0))})
        self._block = records.zeros(arrays.Request, len(log))
        for name in ("arrival_s", "input_tokens", "output_tokens"):
            self._block[name] = getattr(log, name)
        self._block["predicted_tokens"] = log.output_tokens
        self._ready = prepare(config, Means(float(log.input_tokens.mean()), float(log.output_tokens.mean())))

    @property
    def kind(self) -> Kind:
        """The replicas' kind."""
        return self._ready.config.fleet.only_kind

    def play(self, fields: Mapping[str, Any] | None = None, sample_every_s: float | None = None) -> Played:
        """Replay the log with changed fields of the replicas' kind. Raises InputError if a request can never fit."""
        ready = self._ready if fields is None else self._with(fields)
        run = Run.start(ready, Recording(requests=True, sample_every_s=sample_every_s))
        run.feed(self._block.copy(), float(np.nextafter(self._block["arrival_s"][-1], np.inf)))
        result = run.finish()
        rows = result.requests
        if rows is None:
            raise ValueError("a replay records its requests")
        return Played(rows["first_token_s"] - rows["arrival_s"], rows["finished_s"] - rows["arrival_s"], result)

    def power_w(self, fields: Mapping[str, Any], edges_s: Array) -> Array:
        """Mean watts of all replicas between times (n + 1,) after the first arrival, float64 (n,)."""
        result = self.play(fields, float(np.diff(edges_s).min())).result
        joules, spent = result.samples["energy_j"].sum(axis=1), float(result.spent["energy_j"].sum())
        times = np.append(result.samples["t_s"][:, 0], result.end_s)
        return np.asarray(np.diff(np.interp(edges_s, times, np.append(joules, spent))) / np.diff(edges_s))

    def _with(self, fields: Mapping[str, Any]) -> Prepared:
        changes = {f"gpu.{name}": value for name, value in fields.items()}
        return replace(self._ready, config=self._ready.config.replace(changes))
