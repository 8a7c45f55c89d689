"""Intrusive containers over the simulation's arrays: queues of live requests, tournaments among GPUs."""
