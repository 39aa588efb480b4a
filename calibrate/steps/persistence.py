"""Persistence: flag the traces of earlier exposures (off by default, not supported yet)."""

from calbatch.calibrate.steps._unsupported import UnsupportedStep


class PersistenceStep(UnsupportedStep):
    """Flag pixels with traces of earlier exposures (not supported yet)."""

    cal_step = "persistence"
