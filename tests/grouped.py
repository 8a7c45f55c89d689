"""Random client groups, some of which have sessions, for a case."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from caps_fast.workload.session_kinds import as_starts
from cases import Case

LENGTHS = "input_tokens = { log_mean = 2.5, log_sd = 0.8 }\noutput_tokens = { log_mean = 2.0, log_sd = 0.9 }\n"


def with_groups(draw: Any, case: Case, folder: Path) -> Case:
    """The case with requests by themselves, conversations that come and users who stay."""
    habits = [
        {
            "turns_mean": draw(st.sampled_from([1.0, 2.0, 5.0])),
            "think_s": draw(st.sampled_from([0.0, 0.3, 2.0, 9.0])),
            "think_law": draw(st.sampled_from(["exponential", "fixed"])),
            "max_context_tokens": draw(st.sampled_from([30, 200])),
        }
        for _ in range(2)
    ]
    habits[1] |= {"users": draw(st.integers(1, 8)), "pause_s": draw(st.sampled_from([0.5, 5.0]))}
    groups = ["share = 0.5\n" + LENGTHS, "share = 0.5\npredictability = 0.5\n" + LENGTHS, 'tier = "silver"\n' + LENGTHS]
    for at, own in enumerate(habits, start=1):
        groups[at] += "".join(f"sessions.{name} = {json.dumps(value)}\n" for name, value in own.items())
    text = "".join(f'[[clients]]\nname = "g{at}"\n{group}' for at, group in enumerate(groups))
    path = folder / "groups.toml"
    path.write_text(text, encoding="utf-8")
    rows = case.requests[:40].copy()
    starts = np.random.default_rng(draw(st.integers(0, 99))).random(len(rows)) < 0.4
    rows[starts] = as_starts(rows[starts], 0)
    changes = {"workload.file": str(path), "workload.max_output_tokens": 60, "workload.tenants": 5}
    config = case.config.replace(changes | {"seed": draw(st.integers(0, 1000))})
    return replace(case, config=config, requests=rows)
