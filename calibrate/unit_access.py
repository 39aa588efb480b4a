"""What a step knows of its unit: the further inputs, by role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from calbatch.calibrate.configurable import Configurable

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step
    from calbatch.models.model import DataModel

Members = Mapping[str, Sequence["DataModel"]]
"""Lazy models of a unit's inputs, by role."""

_NONE: Members = MappingProxyType({})


class UnitAccess(Configurable):
    """Base class of steps that gives access to the inputs of the unit that is calibrated.

    Attributes
    ----------
    parent : Step, optional
        The pipeline that contains the step.
    """

    parent: Step | None
    _members: Members = _NONE

    @property
    def members(self) -> Members:
        """The inputs of the unit, by role; empty for a unit of one file."""
        return self._members if self.parent is None else self.parent.members

    @members.setter
    def members(self, members: Members) -> None:
        self._members = members
