"""Dates are read and written exactly as in crds."""

import pytest
from crds.core import timestamp
from hypothesis import example, given
from hypothesis import strategies as st
from support.crds_rules import DAY_VALUES, DAYS, TIME_VALUES

from calbatch.crds_client.rules.dates import standard_date

joined = st.tuples(st.sampled_from(DAY_VALUES), st.sampled_from(TIME_VALUES)).map(" ".join)
noise = st.text("0123456789-/:. TapmJanFeb,", max_size=24)


@given(joined | st.datetimes().map(str) | st.sampled_from(DAYS) | noise)
@example("Dec 01 1993 00:00:00 UT")
@example("19970114:053714")
@example("Mar 21 2001 12:00:00 am")
@example("21/12/99 05:42:00 PM")
@example("2016-01-23 22:08:13.4820001")
@example("03-Jan-2013")
def test_as_crds(text):
    try:
        expected = timestamp.reformat_date(text)
    except Exception:
        expected = None
    if expected is None:
        with pytest.raises(ValueError, match=r"\S"):
            standard_date(text)
    else:
        assert standard_date(text) == expected
