"""What a user asked for, as it is kept: enough to do it again elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from calbatch.cluster.exposure.job import ExposureOptions
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.planning.planner import RerunPolicy
from calbatch.cluster.sites.placement import SiteRequest


@dataclass(frozen=True)
class Order:
    """How a batch is to be done; its step is told by a ``.cfg``, its exposures by the ledger.

    Attributes
    ----------
    inputs : tuple of str
        As the user named them.
    context : str, optional
        The CRDS context.
    pars : bool
        Whether parameter references are read.
    options : ExposureOptions
        How exposures are read, walked and written.
    wish : Wish
        Where.
    again : RerunPolicy
        What is done though it was done before.
    policy : RetryPolicy
        How patient to be.
    recursive : bool
        Whether a folder stands for the folders in it, too.
    """

    inputs: tuple[str, ...]
    context: str | None = None
    pars: bool = True
    options: ExposureOptions = field(default_factory=ExposureOptions)
    wish: SiteRequest = field(default_factory=SiteRequest)
    again: RerunPolicy = field(default_factory=RerunPolicy)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    recursive: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Order:
        """Return what `as_json` gave, as an order."""
        return cls(
            tuple(kept["inputs"]),
            kept["context"],
            kept["pars"],
            ExposureOptions(**kept["options"]),
            SiteRequest(**kept["wish"]),
            RerunPolicy(**kept["again"]),
            RetryPolicy(**kept["policy"]),
            kept.get("recursive", False),  # orders of older ledgers do not say
        )
