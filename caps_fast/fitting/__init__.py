"""Fitting a profile of a serving replica to tables of steps, request logs and logs of power, all together."""
