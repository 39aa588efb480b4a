"""The calibration steps, one module each."""
