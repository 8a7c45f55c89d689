"""Calibration: the simulator's undisclosed parameters, found within stated bounds, from figures that it should give."""
