"""Workloads: blocks of requests, drawn or replayed, the same whatever the policy and the block size."""
