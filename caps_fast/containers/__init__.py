"""Intrusive containers over the simulation's arrays: queues of live requests, min trees over GPUs."""
