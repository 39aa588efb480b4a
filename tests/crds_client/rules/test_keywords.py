"""The names of parameters in headers."""

import pytest

from calbatch.crds_client.errors import HeaderError
from calbatch.crds_client.rules.keywords import (
    all_synonyms,
    condition_header,
    instrument_of,
    raw_values,
    synonyms,
)


@pytest.mark.parametrize(
    ("parameter", "observatory", "names"),
    [
        (
            "META.INSTRUMENT.DETECTOR", "jwst",
            ("META.INSTRUMENT.DETECTOR", "meta.instrument.detector", "DETECTOR", "detector"),
        ),
        ("CCDGAIN", "hst", ("CCDGAIN", "ccdgain")),
        (
            "ROMAN.META.NAME", "roman",
            ("ROMAN.META.NAME", "roman.meta.name", "META.NAME", "meta.name"),
        ),
    ],
)  # fmt: skip
def test_the_names_of_a_parameter(parameter, observatory, names):
    assert synonyms(parameter, observatory) == names


def test_the_first_name_with_a_value_counts():
    names = all_synonyms(("META.INSTRUMENT.DETECTOR", "META.VISIT.TYPE"), "jwst")
    header = {"META.INSTRUMENT.DETECTOR": None, "DETECTOR": "NRS1", "detector": "NRS2"}
    assert raw_values(header, names) == ("NRS1", "UNDEFINED")


def test_values_are_conditioned():
    header = {"DETECTOR": "nrs1", "NGROUPS": 5}
    names = ("META.INSTRUMENT.DETECTOR", "META.EXPOSURE.NGROUPS", "META.EXPOSURE.TYPE")
    assert condition_header(header, names, "jwst") == {
        "META.INSTRUMENT.DETECTOR": "NRS1",
        "META.EXPOSURE.NGROUPS": "5.0",
        "META.EXPOSURE.TYPE": "UNDEFINED",
    }


@pytest.mark.parametrize(
    "header", [{"META.INSTRUMENT.NAME": "miri"}, {"INSTRUME": " MIRI "}, {"instrume": "MIRI"}]
)
def test_the_instrument_has_several_names(header):
    assert instrument_of(header, "META.INSTRUMENT.NAME") == "MIRI"


def test_a_header_without_an_instrument_is_an_error():
    with pytest.raises(HeaderError, match=r"META\.INSTRUMENT\.NAME or INSTRUME"):
        instrument_of({"INSTRUME": "UNDEFINED"}, "META.INSTRUMENT.NAME")
