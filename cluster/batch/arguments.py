"""The keyword arguments of `calbatch.run` and `calbatch.submit`, for type checkers only.

Importing it takes time, so other modules do so under ``TYPE_CHECKING``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from calbatch.cluster.exposure.policy import RetryPolicy


class BatchArguments(TypedDict, total=False):
    """The fields of `BatchOptions` as keyword arguments, for type checkers."""

    parameters: Mapping[str, Any]
    config: str | Path | None
    context: str | None
    pars: bool
    save_steps: str | Sequence[str]
    scheduler: str
    site: str | None
    workers: int | None
    grain: str
    tile_rows: int | None
    date: str | None
    force: bool
    verify: bool
    recursive: bool
    only_failed: bool
    verify_inputs: bool
    fsync: bool
    insecure: bool
    policy: RetryPolicy
