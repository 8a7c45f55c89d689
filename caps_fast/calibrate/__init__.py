"""Calibration: undisclosed parameters, fitted within bounds to figures that the simulator should reproduce."""
