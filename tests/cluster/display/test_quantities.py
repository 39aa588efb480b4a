"""Times and amounts of memory as people read them."""

from datetime import datetime

import pytest

from calbatch.cluster.display.quantities import (
    describe_about,
    describe_left,
    duration,
    format_time,
    megabytes,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "0:01:00"),
        (3661.4, "1:01:01"),
        (360000, "100:00:00"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0.0 MB"), (9.4e6, "9.4 MB"), (12.3e6, "12 MB"), (12.3e9, "12.3 GB")]
)
def test_amounts(count, text):
    assert megabytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (30, "30.0 s left"),
        (3600 * 47, "47:00:00 left"),
        (3600 * 60, "2.5 days left"),
        (1e12, "more than 100 days left"),
    ],
)
def test_no_time_left_is_absurd(seconds, text):
    assert describe_left(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.01, "about 1 second"),
        (89.4, "about 89 seconds"),
        (89.6, "about 1 minute"),
        (720, "about 12 minutes"),
        (7300, "about 2 hours"),
        (3e5, "about 3 days"),
    ],
)
def test_durations_that_are_not_known_exactly_are_in_words(seconds, text):
    assert describe_about(seconds) == text


def test_times_are_local():
    assert datetime.fromisoformat(format_time(1e9)).timestamp() == 1e9
