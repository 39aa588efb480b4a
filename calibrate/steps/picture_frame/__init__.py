"""Picture frame: subtract NIRSpec's thermal frame (off by default, not supported yet)."""

from calbatch.calibrate.steps._unsupported import UnsupportedStep


class PictureFrameStep(UnsupportedStep):
    """Subtract NIRSpec's thermal picture frame (not supported yet)."""

    cal_step = "picture_frame"
