"""clean_flicker_noise is not supported yet."""

from support.later_step import LaterStepTests


class TestCleanFlickerNoise(LaterStepTests):
    name = "clean_flicker_noise"
    keyword = "S_CLNFNS"
