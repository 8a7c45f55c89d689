"""Benchmarks: `python -m benchmarks` measures ratios within one run, tells them, and compares them with the stored
ones (docs/benchmarks.md).
"""
