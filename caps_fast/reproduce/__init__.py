"""The paper beside ours: its figures as data, the experiments that answer them, and what holds."""

from caps_fast.reproduce.table import table1

__all__ = ["table1"]
