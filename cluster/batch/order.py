"""The order of a batch: the user's request as it is recorded, complete enough to repeat it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from calbatch.calibrate.registry import is_built_in
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.options import BatchOptions
from calbatch.cluster.exposure.job import ExposureOptions
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.planning.inputs import total_bytes
from calbatch.cluster.planning.planner import RerunPolicy
from calbatch.cluster.sites.placement import FEW, Place, SiteRequest, choose_place
from calbatch.models.errors import ModelError
from calbatch.models.fits.layout import read_layout
from calbatch.models.storage.location import Location, Url

RecordT = TypeVar("RecordT")

_KEYS = {
    "inputs": "inputs",
    "context": "context",
    "pars": "pars",
    "exposure": "options",
    "site": "wish",
    "rerun": "again",
    "policy": "policy",
    "recursive": "recursive",
    "page": "page",
}
"""Attribute to key in the ledger, whose format is older than the attributes' names."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """The settings of a batch. Its step is in a ``.cfg``, and its exposures are in the ledger.

    Attributes
    ----------
    inputs : tuple of str
        Files, folders and globs, as the user gave them.
    context : str, optional
        The CRDS context.
    pars : bool
        True if parameter references are read.
    exposure : ExposureOptions
        Options for reading, tiling and writing exposures.
    site : SiteRequest
        The requested place to run.
    rerun : RerunPolicy
        Rules for exposures that have been calibrated before.
    policy : RetryPolicy
        Limits on retries, delays and waiting.
    recursive : bool
        True if folders are searched recursively.
    page : bool
        True if the batch is shown on a page of the dashboard.
    """

    inputs: tuple[str, ...]
    context: str | None = None
    pars: bool = True
    exposure: ExposureOptions = field(default_factory=ExposureOptions)
    site: SiteRequest = field(default_factory=SiteRequest)
    rerun: RerunPolicy = field(default_factory=RerunPolicy)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    recursive: bool = False
    page: bool = True

    @classmethod
    def from_options(
        cls, inputs: Sequence[str], options: BatchOptions, site_options: Mapping[str, str]
    ) -> Order:
        """Return the order for some inputs and options.

        Parameters
        ----------
        inputs : sequence of str
            Files, folders and globs.
        options : BatchOptions
            The options.
        site_options : mapping
            Options that override those of the requested site, as text.
        """
        return cls(
            inputs=tuple(inputs),
            context=options.context,
            pars=options.pars,
            exposure=_select(ExposureOptions, options),
            site=_select(SiteRequest, options, options=dict(site_options)),
            rerun=_select(RerunPolicy, options),
            policy=options.policy,
            recursive=options.recursive,
            page=options.page,
        )

    def choose_place(
        self,
        step: Step,
        count: int,
        paths: Iterable[Location],
        *,
        is_proven: bool,
        has_killed: bool,
    ) -> Place:
        """Return the place for a batch.

        Parameters
        ----------
        step : Step
            The configured step or pipeline.
        count : int
            Number of exposures.
        paths : iterable of Path or Url
            The exposures; they are examined once, as there may be a million.
        is_proven : bool
            False if the exposures include some whose last calibration did not end well: one that
            ends its process is not to end this one.
        has_killed : bool
            True if the exposures include one over which a process died.
        """
        is_trusted = is_proven and count <= FEW and _is_own_code(step)
        if is_trusted:
            paths = list(paths)
            is_trusted = all(map(_is_uncompressed, paths))
        size = total_bytes(paths)
        return choose_place(self.site, count, size, is_trusted=is_trusted, has_killed=has_killed)

    def as_json(self) -> dict[str, Any]:
        """Return the order in the form stored in the ledger, which JSON can represent."""
        values = asdict(self)
        return {key: values[name] for name, key in _KEYS.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Order:
        """Return the order from which `as_json` made ``values``."""
        return cls(
            inputs=tuple(values["inputs"]),
            context=values["context"],
            pars=values["pars"],
            exposure=ExposureOptions(**values["options"]),
            site=SiteRequest(**values["wish"]),
            rerun=RerunPolicy(**values["again"]),
            policy=RetryPolicy(**values["policy"]),
            recursive=values.get("recursive", False),  # missing in older ledgers, as is `page`
            page=values.get("page", True),
        )


def _select(record: type[RecordT], chosen: BatchOptions, /, **more: Any) -> RecordT:
    """Return a record whose fields have the values of the options of the same names."""
    names = {each.name for each in fields(record)} - more.keys()  # type: ignore[arg-type]
    shared = {n: getattr(chosen, n) for n in names if hasattr(chosen, n)}
    return record(**shared, **more)


def _is_own_code(step: Step) -> bool:
    """Return whether a step, its own steps and their hooks are all calbatch's."""
    every = (step, *step.steps().values())
    return is_built_in(step) and not any(one.pre_hooks or one.post_hooks for one in every)


def _is_uncompressed(path: Location) -> bool:
    """Return whether a file of this machine has neither gzipped nor compressed images."""
    if isinstance(path, Url):
        return False
    with warnings.catch_warnings():  # its calibration reports warnings and errors
        warnings.simplefilter("ignore")
        try:
            layout = read_layout(path)
        except ModelError:
            return False
    return not layout.stamp.is_gzipped and all(hdu.kind != "compressed" for hdu in layout.hdus)
