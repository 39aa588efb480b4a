"""Steps, pipelines and their parameters: the calibration of pixels."""
