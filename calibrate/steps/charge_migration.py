"""Charge migration: flag groups of bright pixels that lost charge (not supported yet)."""

from calbatch.calibrate.steps._unsupported import UnsupportedStep


class ChargeMigrationStep(UnsupportedStep):
    """Flag groups of bright pixels that lost charge to their neighbours (not supported yet)."""

    cal_step = "charge_migration"
