"""The paper compared with ours: its figures as data, the experiments, and the verdicts."""

from caps_fast.reproduce.table import table1

__all__ = ["table1"]
