"""`calbatch refs`, with the cache of a simulated set and no server."""

import json
import re
import shutil

import pytest
from support.batches import copy_changed

from calbatch.cluster.cli.commands import refs
from calbatch.cluster.errors import RequestError
from calbatch.crds_client.rules.mapping import mapping_checksum

CONTEXT = "jwst_0001.pmap"


@pytest.fixture(autouse=True)
def cache(simulated, monkeypatch, tmp_path):
    """Use a copy of the simulated set's cache, and return its folder."""
    folder = tmp_path / "crds"
    shutil.copytree(simulated.crds, folder)
    monkeypatch.setenv("CRDS_PATH", str(folder))
    monkeypatch.delenv("CRDS_SERVER_URL")
    monkeypatch.setenv("COLUMNS", "250")
    return folder


@pytest.fixture
def exposures(simulated):
    return [str(path) for path in simulated.exposures[:2]]


@pytest.fixture
def unknown(simulated, tmp_path):
    """Return an exposure whose detector has no references."""
    return str(copy_changed(simulated.exposures[0], tmp_path / "u_uncal.fits", DETECTOR="NRCB4"))


def superbias(cache):
    [path] = (cache / "references" / "jwst").rglob("*superbias*.fits")
    return path


# -- bestrefs ----------------------------------------------------------------------------------


def test_references_are_printed_for_programs(exposures, cache, capsys):
    assert refs.bestrefs(exposures, None, as_json=True) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["file"] for record in records] == exposures
    assert records[0]["references"]["superbias"] == superbias(cache).name
    assert records[0]["references"] == records[1]["references"]


def test_references_are_printed_for_users(exposures, cache, capsys):
    refs.bestrefs(exposures[:1], None, as_json=False)
    first, *table = capsys.readouterr().out.splitlines()
    assert first.startswith(f"context {CONTEXT}: ")
    rows = [[c.strip() for c in line.strip("│").split("│")] for line in table if "│" in line]
    name = exposures[0].rpartition("/")[2]
    assert [name, "superbias", superbias(cache).name] in rows


def test_a_file_that_cannot_be_read_is_a_failure(exposures, tmp_path, capsys):
    broken = tmp_path / "b_uncal.fits"
    broken.write_bytes(b"SIMPLE")
    assert refs.bestrefs([*exposures, str(broken)], None, as_json=True) == 1
    *_, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert last["file"] == str(broken)
    assert list(last["why"]) == [""]


# -- diff and info -----------------------------------------------------------------------------


def test_a_context_does_not_differ_from_itself(exposures, capsys):
    assert refs.diff(CONTEXT, CONTEXT, exposures, as_json=False) == 0
    assert capsys.readouterr().out.startswith("0 of 2 exposures ")


def add_context(cache):
    """Add a second context to the cache, in which the superbias is another file."""
    replaced = {"superbias_0001.fits": "superbias_0007.fits"}
    for pattern in ("*_superbias_*.rmap", "*_nircam_*.imap", CONTEXT):
        [path] = (cache / "mappings" / "jwst").glob(pattern)
        text, name = path.read_text(), path.name.replace("0001", "0002")
        for old, new in replaced.items():
            text = text.replace(old, new)
        stated = re.search(r"'sha1sum'\s*:\s*'(\w+)'", text)[1]
        path.with_name(name).write_text(text.replace(stated, mapping_checksum(text)))
        replaced[path.name] = name


def test_other_references_are_printed(exposures, cache, capsys):
    add_context(cache)
    assert refs.diff(CONTEXT, "jwst_0002.pmap", exposures[:1], as_json=True) == 0
    [found] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found == {
        "file": exposures[0],
        "type": "superbias",
        CONTEXT: "jwst_nircam_superbias_0001.fits",
        "jwst_0002.pmap": "jwst_nircam_superbias_0007.fits",
    }
    refs.diff(CONTEXT, "jwst_0002.pmap", exposures, as_json=False)
    assert "2 of 2 exposures " in capsys.readouterr().out


def test_the_cache_and_the_context_are_described(cache, capsys):
    assert refs.info(None, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["context"], found["cache"]) == (CONTEXT, str(cache))
    assert found["contexts"] == [CONTEXT]
    assert found["server"] in (None, "")
    refs.info(None, as_json=False)
    assert "none: CRDS_SERVER_URL is not set" in capsys.readouterr().out


# -- sync --------------------------------------------------------------------------------------

EVERYTHING = {"context": None, "files": False, "pipeline": None, "instruments": ()}


def sync(*items, **options):
    return refs.sync(list(items), **EVERYTHING | options)


def test_references_in_the_cache_need_no_server(exposures, capsys):
    assert sync(*exposures, pipeline="superbias") == 0
    assert "1 of 1 file in " in capsys.readouterr().out


def test_missing_references_are_named_without_a_server(exposures, cache, capsys):
    path = superbias(cache)
    path.unlink()
    assert sync(*exposures, pipeline="superbias") == 1
    said = capsys.readouterr().err
    assert path.name in said
    assert f"calbatch refs sync --files {path.name}" in said


def test_files_are_fetched_by_name(cache, capsys):
    path = superbias(cache)
    assert sync(path.name, files=True) == 0
    path.unlink()
    assert sync(path.name, files=True) == 1


def test_a_pipeline_without_a_reference_is_reported(unknown, capsys):
    sync(unknown, pipeline="superbias")
    assert f"{unknown}: no superbias reference: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [({"files": True}, "refs sync --files: name the files"), ({}, "refs sync: name exposures")],
)
def test_a_whole_context_is_not_fetched_by_accident(options, message):
    with pytest.raises(RequestError, match=message):
        sync(**options)


def test_all_that_a_context_has_can_be_asked_for(cache, capsys):
    assert sync(context=CONTEXT, instruments=["nircam"]) == 0
    folders = [cache / "references", cache / "mappings"]
    count = sum(path.is_file() for folder in folders for path in folder.rglob("*.*"))
    assert f"{count} of {count} files in {cache}" in capsys.readouterr().out


# -- verify ------------------------------------------------------------------------------------


def test_unknown_files_cannot_be_verified(cache, capsys):
    assert refs.verify([superbias(cache).name], repair=False) == 0
    assert "1 file cannot be verified" in capsys.readouterr().out
