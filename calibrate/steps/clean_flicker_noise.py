"""Subtract 1/f noise group by group: off by default, and not supported yet."""

from calbatch.calibrate.steps._later import LaterStep


class CleanFlickerNoiseStep(LaterStep):
    """Subtract 1/f noise group by group (not supported yet)."""

    cal_step = "clean_flicker_noise"
