"""How a user asks a driver to end, wherever it runs: by a file beside the ledger."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from calbatch.models.private import write_private_text


class Wish(StrEnum):
    """What is asked for."""

    DRAIN = "drain"  # begin nothing more
    NOW = "now"  # and give up what is under way
    LATER = "later"  # begin nothing more: another driver goes on


def wished(path: Path | None) -> Wish | None:
    """Return what is asked for by a file; None where it is not there."""
    if path is None:
        return None
    try:
        return Wish(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


def ask(path: Path, wish: Wish) -> None:
    """Ask for something."""
    write_private_text(path, f"{wish}\n")


def take_back(path: Path) -> None:
    """Ask for nothing any more."""
    path.unlink(missing_ok=True)
