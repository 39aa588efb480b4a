"""The results of the refs commands."""

import json

import pytest
from astropy.io import fits
from support.crds_server import CONTEXT, HEADER, make_cache

from calbatch.crds_client import Client
from calbatch.crds_client.listing import (
    bestrefs_rows,
    describe_client,
    differences,
    files_of_context,
    table_of_files,
)


@pytest.fixture
def cache(tmp_path):
    return make_cache(tmp_path / "cache")


@pytest.fixture
def client(cache):
    return Client(cache.root, CONTEXT, mode="local")


@pytest.fixture
def files(tmp_path):
    paths = []
    for detector in "ABZ":
        path = tmp_path / f"{detector}.fits"
        fits.PrimaryHDU(header=fits.Header({**HEADER, "DETECTOR": detector})).writeto(path)
        paths.append(str(path))
    (tmp_path / "bad.fits").write_text("x")
    return [*paths, str(tmp_path / "bad.fits")]


def test_bestrefs_of_files(client, files):
    rows = [json.loads(json.dumps(row)) for row in bestrefs_rows(table_of_files(client, files))]
    assert [row["file"] for row in rows] == files
    assert {row["context"] for row in rows} == {CONTEXT}
    assert rows[0]["references"] == {"flat": "jwst_miri_flat_0002.fits", "dark": "N/A"}
    assert rows[0]["why"] == {}
    assert rows[2]["references"] == {"flat": None, "dark": "N/A"}
    assert "'Z'" in rows[2]["why"]["flat"]
    assert rows[3]["references"] == {}
    assert files[3] in rows[3]["why"][""]


def test_differences_between_contexts(cache, client, files):
    old = Client(cache.root, "jwst_0001.pmap", mode="local")
    found = list(differences(table_of_files(old, files), table_of_files(client, files)))
    assert [(one.exposure, one.type, one.old, one.new) for one in found] == [
        (files[0], "flat", "jwst_miri_flat_0001.fits", "jwst_miri_flat_0002.fits")
    ]


def test_exposures_that_only_one_table_has_are_not_compared(client, files):
    old, new = table_of_files(client, files), table_of_files(client, files[1:])
    assert list(differences(old, new)) == []


def test_all_files_of_a_context(client, cache):
    names = files_of_context(client)
    assert {CONTEXT, "jwst_miri_0002.imap", "jwst_miri_flat_0002.rmap"} <= names
    assert {name for name in names if name.endswith(".fits")} == {
        path.name for path in cache.references.rglob("*.fits")
    }
    assert files_of_context(client, ["MIRI"]) == names


def test_information(client):
    info = describe_client(client)
    assert info["context"] == CONTEXT
    assert info["context_reason"] == "as requested"
    assert info["contexts"] == ["jwst_0001.pmap", CONTEXT]
    assert info["files"] == 12
    json.dumps(info)
