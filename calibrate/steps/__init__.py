"""Calibration steps, one module or package each."""
