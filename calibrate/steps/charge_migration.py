"""Flag the groups of bright pixels from which charge migrated (not supported yet)."""

from calbatch.calibrate.steps._later import LaterStep


class ChargeMigrationStep(LaterStep):
    """Flag the groups of bright pixels from which charge migrated (not supported yet)."""

    cal_step = "charge_migration"
