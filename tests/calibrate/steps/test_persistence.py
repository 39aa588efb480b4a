"""persistence is not supported yet."""

from support.later_step import LaterStepTests


class TestPersistence(LaterStepTests):
    name = "persistence"
    keyword = "S_PERSIS"
