"""picture_frame is not supported yet."""

from support.later_step import LaterStepTests


class TestPictureFrame(LaterStepTests):
    name = "picture_frame"
    keyword = "S_PCTFRM"
