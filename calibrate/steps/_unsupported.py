"""Steps that jwst skips by default and calbatch does not support yet."""

from __future__ import annotations

from typing import NoReturn

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import Boolean
from calbatch.calibrate.step import Step
from calbatch.models.model import DataModel


class UnsupportedStep(Step):
    """A step that must be skipped; switching it on is an error."""

    skip = Boolean(True, help="must stay True: this step is not supported yet")

    def check(self) -> None:
        """Reject ``skip = False``."""
        super().check()
        if not self.skip:
            raise ParameterError(f"{self.name} is not supported yet: leave {self.name}.skip = True")

    def process(self, exposure: DataModel) -> NoReturn:
        """Raise: the step is not supported."""
        raise ParameterError(f"{self.name} is not supported yet")
