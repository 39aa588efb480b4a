"""Flag the groups of bright pixels from which charge migrated (not supported yet)."""

from calbatch.calibrate.steps._unsupported import UnsupportedStep


class ChargeMigrationStep(UnsupportedStep):
    """Flag the groups of bright pixels from which charge migrated (not supported yet)."""

    cal_step = "charge_migration"
