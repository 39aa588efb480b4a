"""Subtract NIRSpec's thermal picture frame: off by default, and not supported yet."""

from calbatch.calibrate.steps._later import LaterStep


class PictureFrameStep(LaterStep):
    """Subtract NIRSpec's thermal picture frame (not supported yet)."""

    cal_step = "picture_frame"
