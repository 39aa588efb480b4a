"""Flicker noise: subtract 1/f noise from each group (off by default, not supported yet)."""

from calbatch.calibrate.steps._unsupported import UnsupportedStep


class CleanFlickerNoiseStep(UnsupportedStep):
    """Subtract 1/f noise from each group (not supported yet)."""

    cal_step = "clean_flicker_noise"
