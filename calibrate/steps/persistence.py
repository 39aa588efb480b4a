"""Flag pixels that remember an earlier exposure: off by default, and not supported yet."""

from calbatch.calibrate.steps._unsupported import UnsupportedStep


class PersistenceStep(UnsupportedStep):
    """Flag pixels that remember an earlier exposure (not supported yet)."""

    cal_step = "persistence"
