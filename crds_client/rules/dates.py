"""Dates in the many spellings that CRDS reads, and the sortable text that it compares.

UseAfter compares strings, so their form has to be exact: ``YYYY-MM-DD hh:mm:ss``, followed by
``.ffffff`` only if the microseconds are not zero. Source: PyPI ``crds`` 14.0.3, ``timestamp``.
"""

from __future__ import annotations

import datetime
import functools
import re

_ISO_T = re.compile(r"\d{4}[-/]\d\d[-/]\d\dT\d\d(?::\d\d){1,2}(?:\.\d{1,6})?")
_WORD = re.compile(r"[A-Za-z]{3,10}")
_NUMERICAL = (
    re.compile(r"(?P<month>\d\d)/(?P<day>\d\d)/(?P<year>\d{4})"),
    re.compile(r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)"),
    re.compile(r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>9\d)"),
    re.compile(r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>[0-3]\d)"),
)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d):(\d\d)(\d\d)(\d\d)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_Clock = tuple[int, int, int, int]


def parse_date(text: str) -> datetime.datetime:
    """Return the date and time in a string.

    Raises
    ------
    ValueError
        If CRDS does not know the form of the text, or the text contains ``UNDEFINED``.
    """
    if "UNDEFINED" in text:
        raise ValueError("date or time is UNDEFINED")
    text = text.removesuffix(" UT")
    if _ISO_T.fullmatch(text):
        text = text.replace("T", " ")
    return _parse_alphabetical(text) if _WORD.search(text) else _parse_numerical(text)


# The form that JWST and Roman write, as a fast path.
_USUAL = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d(?:\.\d*)?)")


@functools.lru_cache(maxsize=65536)
def standard_date(text: str) -> str:
    """Return a date in the form in which UseAfter compares it.

    >>> standard_date("2016-01-23 22:08:13.482")
    '2016-01-23 22:08:13.482000'
    """
    if match := _USUAL.fullmatch(text):
        year, month, day, hour, minute, seconds = match.groups()
        whole, fraction = _seconds(seconds)
        date = (int(year), int(month), int(day))
        moment = datetime.datetime(*date, int(hour), int(minute), whole, fraction)  # noqa: DTZ001
        return moment.isoformat(" ")
    return parse_date(text).isoformat(" ")


def _clock(text: str) -> _Clock:
    text = text.strip()
    half = text[-2:].upper()
    if half in ("AM", "PM"):
        text = text[:-2]
    fields = text.split(":")
    if not 2 <= len(fields) <= 4:
        raise ValueError(f"time {text!r} is not hh:mm or hh:mm:ss")
    hour, minute = int(fields[0]), int(fields[1])
    whole, fraction = _seconds(fields[2]) if len(fields) > 2 else (0, 0)
    if half == "PM" and hour < 12:
        hour += 12
    elif half == "AM" and hour == 12:
        hour = 0
    return hour, minute, whole, fraction


def _seconds(text: str) -> tuple[int, int]:
    """Return seconds and microseconds, truncated as in crds."""
    seconds = float(text)
    whole = int(seconds)
    return whole, int((seconds - whole) * 10**6)


def _parse_numerical(text: str) -> datetime.datetime:
    words = text.replace("-", "/").split()
    if not words:
        raise ValueError("date is empty")
    clock = _clock(" ".join(words[1:]) if len(words) > 1 else "00:00")
    for form in _NUMERICAL:
        if match := form.fullmatch(words[0]):
            year = int(match["year"])
            if len(match["year"]) == 2:
                year += 1900 if year >= 90 else 2000
            return datetime.datetime(year, int(match["month"]), int(match["day"]), *clock)  # noqa: DTZ001 UTC by convention
    if match := _COMPACT.fullmatch(words[0]):
        return datetime.datetime(*map(int, match.groups()))  # type: ignore[arg-type] # noqa: DTZ001
    raise ValueError(f"{text!r} is not a known form of date")


def _parse_alphabetical(text: str) -> datetime.datetime:
    for half in ("am", "pm"):
        if text.lower().endswith(f" {half}"):
            text = text.lower().replace(f" {half}", half)
    words = text.replace("-", " ").replace("/", " ").split()
    if len(words) not in (3, 4):
        raise ValueError(f"{text!r} is not a known form of date")
    first, second, year = words[:3]
    second = second.removesuffix(",")
    try:
        month, day = _month(first), int(second)
    except ValueError:
        month, day = _month(second), int(first)
    clock = _clock(words[3]) if len(words) == 4 else (0, 0, 0, 0)
    return datetime.datetime(int(year), month, day, *clock)  # noqa: DTZ001


def _month(word: str) -> int:
    return _MONTHS.index(word[:3].capitalize()) + 1
