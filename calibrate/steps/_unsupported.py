"""Steps that jwst leaves off by default and that are not here yet: SKIPPED, or refused by name."""

from __future__ import annotations

from typing import NoReturn

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import Boolean
from calbatch.calibrate.step import Step
from calbatch.models.model import DataModel


class UnsupportedStep(Step):
    """A step that can only be skipped."""

    skip = Boolean(True, help="must stay True: this step is not supported yet")

    def check(self) -> None:
        """Refuse to be switched on."""
        super().check()
        if not self.skip:
            raise ParameterError(f"{self.name} is not supported yet: leave {self.name}.skip = True")

    def process(self, exposure: DataModel) -> NoReturn:
        """Refuse."""
        raise ParameterError(f"{self.name} is not supported yet")
