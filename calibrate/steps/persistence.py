"""Flag pixels that remember an earlier exposure: off by default, and not supported yet."""

from calbatch.calibrate.steps._later import LaterStep


class PersistenceStep(LaterStep):
    """Flag pixels that remember an earlier exposure (not supported yet)."""

    cal_step = "persistence"
