"""Invariants of the reference engine with the terms of an engine, on random cases: no token is lost, no block is
held twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import POLICIES, engines
from naive import Engine
from naive_cases import column, idle
from naive_state import Gpu, Iteration, Job
from slow_engine import slow_engine


class Blocks:
    """The blocks of one replica's memory, each in one hand at most."""

    def __init__(self, count: int) -> None:
        self.free = list(range(count))
        self.held: dict[Job, list[int]] = {}

    def keep_only(self, residents: Sequence[Job]) -> None:
        for job in [job for job in self.held if job not in residents]:
            self.free += self.held.pop(job)

    def hold(self, job: Job, count: int) -> None:
        blocks = self.held.setdefault(job, [])
        while len(blocks) < count:
            blocks.append(self.free.pop())  # an IndexError where memory is full


class Watched(Engine):
    """Takes and gives back blocks one by one, and counts the tokens that go in and come out."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.processed = self.made = 0
        kinds = [gpu.hardware for gpu in self.gpus]
        self.memories = [Blocks(int(hw.kv_capacity_tokens) // hw.kv_block_tokens if hw.grows else 0) for hw in kinds]

    def preempt(self, gpu: Gpu, job: Job) -> None:
        super().preempt(gpu, job)
        self.memories[gpu.index].keep_only(gpu.residents)  # also of a job that is admitted again at the same instant

    def begin_or_idle(self, gpu: Gpu) -> None:
        super().begin_or_idle(gpu)
        memory, hw = self.memories[gpu.index], gpu.hardware
        memory.keep_only(gpu.residents)
        if gpu.iteration and hw.grows:
            for job in gpu.iteration.members:
                tokens = (
                    job.prompt_done + gpu.iteration.work.takes.get(job, 0)
                    if job.prompt_left
                    else job.request.input_tokens + job.produced
                )
                memory.hold(job, -(-tokens // hw.kv_block_tokens))

    def close(self, gpu: Gpu, iteration: Iteration) -> None:
        self.processed += sum(iteration.work.takes.values()) + len(iteration.work.decoders)
        self.made += len(iteration.work.decoders)
        super().close(gpu, iteration)

    def complete_prompt(self, gpu: Gpu, job: Job) -> None:
        self.made += 1
        super().complete_prompt(gpu, job)


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=20)
@given(data=st.data())
def test_conservation_and_causality(policy: str, data: st.DataObject) -> None:
    case = data.draw(engines(policy))
    engine = slow_engine(case, Watched)
    out = engine.run()
    assert engine.processed == out.recomputed_tokens + sum(
        job.prompt_done if job.prompt_left else job.context - 1 for job in engine.jobs
    )
    assert engine.made == sum(job.produced for job in engine.jobs)
    assert out.preemptions == sum(column(out, "preempted"))
    assert out.unfinished == 0 or out.end_s == case.config.horizon_s + case.config.drain_h * 3600
    assert math.fsum(column(out, "energy_j")) + idle(out)[1] == pytest.approx(out.energy_j, rel=1e-9)
    assert math.fsum(column(out, "carbon_g")) + idle(out)[2] == pytest.approx(out.carbon_g, rel=1e-9)
    for job in engine.jobs:
        record, request = job.record, job.request
        times = [request.arrival_s, record.released_s, record.admitted_s, job.done_s, out.end_s]
        known = [t for t in times if not math.isnan(t)]
        assert known == sorted(known)
        assert math.isnan(job.done_s) == math.isnan(record.finished_s) == (job.produced < request.output_tokens)
        assert math.isnan(record.first_token_s) == (job.produced == 0)
        assert math.isnan(record.first_token_s) or record.first_token_s > record.admitted_s
        if not math.isnan(job.done_s):
            kind = engine.gpus[record.gpu].hardware
            assert record.finished_s == job.done_s + kind.first_token_overhead_s
            least_s = min(gpu.hardware.decode_base_s for gpu in engine.gpus)
            assert job.done_s - record.admitted_s >= request.output_tokens * least_s * (1 - 1e-9)
