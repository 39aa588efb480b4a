"""An exposure that has been planned: its parameters, references and earlier products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.unit import AssociationKeywords, UnitInput
from calbatch.cluster.ledger import ProductRow
from calbatch.cluster.planning.identity import (
    InputVersion,
    ReferenceChecksums,
    identity,
    json_digest,
    overrides_of,
)
from calbatch.models.storage.location import Location

SHAPE, TYPE = "array.shape", "array.model"
"""Metadata keys for the size of an exposure's array, such as 3 x 5 x 64 x 64, and its class."""

MISREAD = "header.misread"
"""Metadata key for the cards of another type than their path's, such as text; absent if none is."""

ACCEPTED = "header.accepted"
"""Metadata key for the class whose requirement the exposure meets; "" if there was none."""


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """A configured step, with the user's parameters and those of parameter references.

    Attributes
    ----------
    step : Step
        The configured step or pipeline.
    digest : str
        Digest of parameter values and code; see `settings_digest`.
    body : mapping
        Parameter values with their sources.
    earlier_digests : sequence of str
        Digests of the same settings in older ledgers; see `earlier_settings_digests`.
    """

    step: Step
    digest: str
    body: Mapping[str, Any]
    earlier_digests: Sequence[str] = ()

    @cached_property
    def key(self) -> str:
        """Digest of the parameter values with their sources."""
        return json_digest(self.body)

    @cached_property
    def overrides(self) -> Mapping[str, str]:
        """Overrides of references, by parameter; see `overrides_of`."""
        return overrides_of(self.step)


@dataclass(kw_only=True)
class PlannedExposure:
    """An exposure with its parameters, references and earlier products.

    Attributes
    ----------
    number, path
        The exposure's position in the batch and its input.
    settings : StepSettings
        The configured step.
    references : ResolvedReferences
        The exposure's references.
    source : InputVersion, optional
        The input as it was when its header was read.
    header : mapping
        Its metadata, with the size and class of its array under `SHAPE` and `TYPE`,
        its misread cards under `MISREAD`, and the requirement that it meets under `ACCEPTED`.
    error : exception, optional
        The reason why the exposure cannot be calibrated.
    earlier_products : sequence of ProductRow
        Intact products of the same work, if it has been done before.
    deaths : int
        Worker deaths, while running alone, in the last attempts at the same work.
    is_known : bool
        True if the ledger has the header of the unchanged input.
    content : str
        Digest of the input's bytes when the same work was done.
    rerun_reason : str
        The reason why it is repeated although the input's size and modification time are unchanged.
    pipeline, product : str
        See `calbatch.cluster.exposure.unit.Unit`.
    inputs : sequence of UnitInput
        All inputs of a unit with members, including the main one.
    makers : sequence of str
        Identities of the units that it waited for.
    association : AssociationKeywords, optional
        The association from which its products are made.
    """

    number: int
    path: Location
    settings: StepSettings
    references: ResolvedReferences
    source: InputVersion | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    earlier_products: Sequence[ProductRow] = ()
    deaths: int = 0
    is_known: bool = False
    content: str = ""
    rerun_reason: str = ""
    pipeline: str = ""
    product: str = ""
    inputs: Sequence[UnitInput] = ()
    makers: Sequence[str] = ()
    association: AssociationKeywords | None = None

    def identity(self, sums: ReferenceChecksums) -> str:
        """Return the exposure's identity, after waiting for the checksums of its references."""
        return next(self.identities(sums), "")

    def identities(self, sums: ReferenceChecksums) -> Iterator[str]:
        """Yield the exposure's identity, then those that the same work has in older ledgers."""
        if self.source is None:
            return
        names = sums.wait_for(self.files()).names
        for digest in (self.settings.digest, *self.settings.earlier_digests):
            yield identity(self.source, digest, names, self._members())

    def _members(self) -> list[Any]:
        """Return the values that identify the members, such as versions of files and makers."""
        if not self.inputs and not self.makers:
            return []
        inputs = [[i.role, str(i.path), i.size, i.mtime_ns] for i in self.inputs]
        keywords = [] if self.association is None else [list(self.association)]
        return [self.product, inputs, list(self.makers), *keywords]

    def files(self) -> dict[str, str]:
        """Return the paths of the references by type, with ``N/A`` and overrides."""
        chosen = self.references.chosen.items()
        files = {
            kind: str(reference.path) if reference.path else "N/A" for kind, reference in chosen
        }
        return {**files, **self.settings.overrides}
