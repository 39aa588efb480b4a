"""Reading association files."""

import gzip
import json

import pytest

from calbatch.cluster.planning import associations
from calbatch.cluster.planning.associations import (
    is_association,
    read_association,
    read_keywords,
)
from calbatch.models.errors import FileError

MEMBERS = [
    {"expname": "a_rate.fits", "exptype": "SCIENCE ", "exposerr": None},
    {"expname": "b_rate.fits", "exptype": "background"},
]
WHOLE = {"asn_rule": "Asn_Lv2Image", "products": [{"name": "target", "members": MEMBERS}]}


def write(folder, value):
    path = folder / "x_asn.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_products_have_members_with_roles(tmp_path):
    found = read_association(write(tmp_path, WHOLE))
    assert found.rule == "Asn_Lv2Image"
    (product,) = found.products
    assert product.name == "target"
    assert product.members == [("science", "a_rate.fits"), ("background", "b_rate.fits")]
    assert product.science == ["a_rate.fits"]


def test_a_compressed_association_is_read(tmp_path):
    path = tmp_path / "x_asn.json.gz"
    path.write_bytes(gzip.compress(json.dumps(WHOLE).encode()))
    assert len(read_association(path).products) == 1
    assert is_association(path)
    assert not is_association(tmp_path / "a_uncal.fits")


def test_keywords_name_the_file_and_its_pool(tmp_path):
    path = write(tmp_path, {**WHOLE, "asn_pool": "jw1_pöol.csv"})
    assert read_keywords(path) == ("x_asn.json", "jw1_p?ol.csv")
    assert read_keywords(write(tmp_path, WHOLE)) == ("x_asn.json", "")
    with pytest.raises(FileError, match=r"x_asn\.json: .* its asn_pool is 3"):
        read_keywords(write(tmp_path, {**WHOLE, "asn_pool": 3}))


def product(**fields):
    return {"products": [{"name": "p", "members": MEMBERS} | fields]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "it is not JSON"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ([], "not an association: it violates type 'object'"),
        ({}, r"not an association: it violates required \['products'\]"),
        ({"products": []}, "products violates minItems 1"),
        (product(name=3), r"products\[0\].name violates type 'string'"),
        (product(members=[{"expname": "a"}]), r"products\[0\].members\[0\] violates required"),
        (
            product(members=[*MEMBERS, {"expname": 3, "exptype": "science"}]),
            r"products\[0\].members\[\d\].expname is 3, not a text of 1 to 255 characters",
        ),
        (product(members=[{"expname": "a", "exptype": ""}]), r"members\[0\].exptype is ''"),
        (product(members=[{"expname": "a" * 256, "exptype": "science"}]), "expname is 'aaa"),
        (product(members=[3]), r"products\[0\].members\[0\] violates type 'object'"),
        (product(members=MEMBERS[1:]), r"products\[0\] has no member of exptype science"),
        (product(name="../p"), r"products\[0\] names '../p': must be the name of a file beside"),
        (product(name=".."), "must be the name of a file"),
        (product(members=[{"expname": "/etc/x", "exptype": "science"}]), "names '/etc/x'"),
        (
            product(members=[{"expname": "a\nb", "exptype": "science"}]),
            "must be the name of a file",
        ),
    ],
)
def test_an_invalid_association_is_refused_with_the_entry(tmp_path, value, message):
    path = write(tmp_path, value)
    with pytest.raises(FileError, match=message) as caught:
        read_association(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(associations, "MAX_SIZE", 100)
    with pytest.raises(FileError, match="is larger than"):
        read_association(write(tmp_path, WHOLE))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"x_asn\.json"):
        read_association(tmp_path / "x_asn.json")
