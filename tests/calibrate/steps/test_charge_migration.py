"""charge_migration is not supported yet."""

from support.later_step import LaterStepTests


class TestChargeMigration(LaterStepTests):
    name = "charge_migration"
    keyword = "S_CHGMIG"
