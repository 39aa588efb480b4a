"""The options of a batch, declared once for Python, the command line and the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import datetime
from inspect import Parameter
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.policy import RetryPolicy

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster


def option(default: Any, text: str, *, flag: str = "", **how: Any) -> Any:
    """Return the dataclass field of an option.

    Parameters
    ----------
    default : object
        Its default.
    text : str
        Its meaning, in one sentence.
    flag : str
        The command-line option, if its name is not the field's.
    **how
        More about the command-line option: ``metavar``, ``choices``, ``show_default``; ``only``
        names the commands that have it, if not all have (empty for Python alone).
    """
    metadata = {"help": text, "flag": flag, **how}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


DRIVING = ("run", "submit", "watch")
"""Commands that drive a batch, rather than plan it."""


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Options of a batch: keyword arguments of `calbatch.run` and `calbatch.submit`."""

    parameters: Mapping[str, Any] = option(
        {},
        "The pipeline's parameters, and a mapping for each of its steps: "
        '``{"save_calibrated_ramp": True, "jump": {"rejection_threshold": 5}}``. The section '
        "``site`` overrides options of the site.",
        only=(),
    )
    config: str | Path | None = option(  # noqa: RUF009 - a field
        None, "Read parameters from a .cfg file.", flag="cfg", metavar="FILE"
    )
    context: str | None = option(
        None, "CRDS context; the environment's CRDS_CONTEXT by default.", metavar="PMAP"
    )
    pars: bool = option(
        True, "Read the parameters that CRDS has for an exposure (pars-STEP); the default."
    )
    save_steps: str | Sequence[str] = option(
        "", "Save the results of these steps, too.", metavar="A,B"
    )
    scheduler: str | Client | Cluster = option(  # noqa: RUF009 - a field
        "auto", "auto, local, threads, sync, or the address of a scheduler.", show_default=True
    )
    site: str | None = option(
        None,
        "Run at this site of `calbatch sites`; --site.OPTION=VALUE overrides one of its options.",
        metavar="NAME",
    )
    workers: int | None = option(
        None, "Number of worker processes or threads; by default one per core, as memory allows."
    )
    grain: str = option(
        "auto",
        "Size of a task: a whole exposure, or one of its tiles.",
        choices=("auto", "exposure", "tile"),
        show_default=True,
    )
    tile_rows: int | None = option(None, "Rows per tile; chosen from available memory by default.")
    date: str | None = option(
        None, "Value of DATE in products, to reproduce them exactly.", metavar="ISO"
    )
    force: bool = option(False, "Recalibrate exposures that have been calibrated before.")
    verify: bool = option(
        False, "Detect changed inputs and products by checksums, not by sizes and times."
    )
    recursive: bool = option(False, "Search folders for exposures recursively.")
    only_failed: bool = option(
        False, "Calibrate only exposures that failed or were quarantined in their last batch."
    )
    verify_inputs: bool = option(
        False, "Verify the inputs' CHECKSUM and DATASUM first.", only=DRIVING
    )
    fsync: bool = option(
        True, "Flush each product to disk before publishing it; the default.", only=DRIVING
    )
    insecure: bool = option(
        False, "Allow an unencrypted scheduler on another machine.", only=DRIVING
    )
    page: bool = option(True, "Show the batch on a page for browsers; the default.", only=DRIVING)
    policy: RetryPolicy = option(  # noqa: RUF009 - a field
        RetryPolicy(),
        "Limits on retries, delays and waiting; some are options of the command line.",
        only=(),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "scheduler", read_address(self.scheduler))
        try:
            if self.date is not None:
                datetime.fromisoformat(self.date)
        except ValueError:
            raise RequestError(f"date {self.date!r}: must be like 2024-01-31T12:00:00") from None


def read_address(scheduler: Any) -> str:
    """Return the name or address of a scheduler, which a dask Client or Cluster may stand for.

    The driver connects to the address itself, so certificates come from dask's configuration.

    Raises
    ------
    RequestError
        If it is none of these.
    """
    if isinstance(scheduler, str):
        return scheduler
    owner = getattr(scheduler, "scheduler", None)  # a Client has no `scheduler_address`
    address = getattr(scheduler, "scheduler_address", None) or getattr(owner, "address", None)
    if not isinstance(address, str):
        raise RequestError(
            f"scheduler {scheduler!r}: must be a name, an address, or a dask Client or Cluster "
            "that is running"
        )
    return address


POLICY_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "deadline": {"help": "Time limit for an exposure, in seconds.", "metavar": "S"},
    "fail_fast": {"help": "End the batch at the first failure."},
    "patience": {
        "help": "Seconds to wait for space on a full disk, or for a lost scheduler.",
        "metavar": "S",
        "show_default": True,
    },
    "silence": {
        "help": "Seconds after which a silent worker that is stopped or cut off counts as dead.",
        "metavar": "S",
        "minimum": 1.0,
        "show_default": True,
    },
}
"""Fields of `RetryPolicy` that are options of the command line; their defaults are the policy's."""


def option_fields() -> list[Field[Any]]:
    """Return the fields of `BatchOptions`, in the order of declaration."""
    return list(fields(BatchOptions))


def default_of(declared: Field[Any]) -> Any:
    """Return the default of a field; `inspect.Parameter.empty` if it has none."""
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    return Parameter.empty if declared.default is MISSING else declared.default


def describe_fields(declared: Iterable[Field[Any]], indent: str = "") -> str:
    """Return fields as a section of a numpydoc docstring, without its heading."""
    lines = []
    for each in declared:
        text = fill(each.metadata["help"], 92, initial_indent="    ", subsequent_indent="    ")
        lines += [f"{each.name} : {each.type}", *text.splitlines()]
    return "\n".join(f"{indent}{line}" for line in lines).lstrip()


_HEADING = "\n\n    Attributes\n    ----------\n    "
_ATTRIBUTES = describe_fields(option_fields(), "    ")
BatchOptions.__doc__ = f"{BatchOptions.__doc__}{_HEADING}{_ATTRIBUTES}\n    "
