"""Subtract 1/f noise group by group: off by default, and not supported yet."""

from calbatch.calibrate.steps._unsupported import UnsupportedStep


class CleanFlickerNoiseStep(UnsupportedStep):
    """Subtract 1/f noise group by group (not supported yet)."""

    cal_step = "clean_flicker_noise"
