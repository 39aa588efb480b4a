"""Times and amounts of memory as people read them.

This module imports nothing heavy, since `calbatch status` and `calbatch list` need nothing else.
"""

from __future__ import annotations

import time

DAY = 86400.0
"""Seconds of a day."""

RECENT = 300.0
"""Seconds over which the rate of a batch is measured."""


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss, or with one decimal below a minute."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def describe_about(seconds: float) -> str:
    """Return a duration that is not known exactly in words, such as ``about 12 minutes``."""
    for unit, name, most in ((1.0, "second", 90), (60.0, "minute", 90), (3600.0, "hour", 48)):
        count = max(1, round(seconds / unit))
        if count < most:
            return f"about {count} {name}{'s' if count > 1 else ''}"
    return f"about {round(seconds / DAY)} days"


def describe_left(seconds: float) -> str:
    """Return a time left in words: a duration up to two days, else days, of at most 100."""
    if seconds < 2 * DAY:
        return f"{duration(seconds)} left"
    if seconds < 100 * DAY:
        return f"{seconds / DAY:.1f} days left"
    return "more than 100 days left"


def format_time(seconds: float | None = None) -> str:
    """Return a time, in seconds since 1970, as local date and time; now by default."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def megabytes(count: float) -> str:
    """Return bytes as MB, with a decimal if few, or as GB if many."""
    if count >= 1e10:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.{int(count < 1e7)}f} MB"
