"""Stop requests: users stop a driver on any host through a file beside the ledger."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from calbatch.models.private import write_private_text


class StopRequest(StrEnum):
    """Ways in which a driver can stop."""

    DRAIN = "drain"  # finish the running exposures and start no others
    NOW = "now"  # abandon the running exposures as well
    LATER = "later"  # as drain, but another driver will continue the batch


def read_stop_request(path: Path | None) -> StopRequest | None:
    """Return the stop request in a control file; None if there is none."""
    if path is None:
        return None
    try:
        return StopRequest(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def request_stop(path: Path, request: StopRequest) -> None:
    """Write a stop request to a control file."""
    write_private_text(path, f"{request}\n")


def withdraw_stop_request(path: Path) -> None:
    """Remove a control file, and with it any stop request."""
    path.unlink(missing_ok=True)
