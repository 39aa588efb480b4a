"""The client with a server: modes, contexts, and interoperation with the official client."""

import json
import logging
import os
import subprocess
import sys

import pytest
from support.crds_server import CONTEXT, HEADER, CrdsServer, make_cache, write_mapping

from calbatch.crds_client import Client, ReferenceMissing
from calbatch.crds_client.cache.layout import Cache
from calbatch.crds_client.errors import (
    ContextError,
    CrdsError,
    ServerError,
    UnsafeName,
    WithdrawnReference,
)

FLAT = "jwst_miri_flat_0002.fits"
RULES = ["jwst_miri_0002.imap", "jwst_miri_flat_0002.rmap"]
"""The rules files that the context names."""


@pytest.fixture
def serving(tmp_path):
    with CrdsServer(make_cache(tmp_path / "served")) as made:
        yield made


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_MODE", "CRDS_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "0")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_a_reference_is_fetched_into_an_empty_cache(serving, root):
    client = Client(root, "latest", server_url=serving.url)
    assert client.context == CONTEXT
    found = client.best_references(HEADER)
    assert found["flat"].name == FLAT
    assert found["dark"].status == "n/a"
    with pytest.raises(ReferenceMissing):
        client.locate(FLAT)
    client.fetch([FLAT]).check()
    assert client.locate(FLAT).read_bytes() == serving.files[FLAT].read_bytes()
    assert client.list_missing([FLAT, "jwst_miri_flat_0003.fits"]) == ["jwst_miri_flat_0003.fits"]


def fill(client):
    """Fetch the references of an exposure into the cache, and the rules that select them."""
    assert client.best_references(HEADER)["flat"].name == FLAT
    client.fetch([FLAT]).check()


def test_all_rules_are_fetched_together(serving, root):
    client = Client(root, CONTEXT, server_url=serving.url)
    names = {CONTEXT, *RULES}
    assert client.list_missing_rules() == RULES
    assert not list(client.cache.mappings.glob("*map"))
    client.best_references(HEADER)
    assert {path.name for path in client.cache.mappings.glob("*map")} == names
    assert client.list_missing_rules() == []


def test_rules_that_arrived_in_part_are_completed_together(serving, root):
    serving.faults[RULES[0]] = ["gone"]
    with pytest.raises(CrdsError, match=RULES[0]):
        Client(root, CONTEXT, server_url=serving.url).best_references(HEADER)
    assert serving.asked[CONTEXT] == 0
    client = Client(root, CONTEXT, server_url=serving.url)
    assert client.list_missing_rules() == RULES[:1]
    fill(client)
    assert serving.asked[RULES[1]] == serving.asked[CONTEXT] == 1


def test_no_rules_are_fetched_if_the_server_applies_them(serving, root):
    info = serving.rpc_get_server_info()
    serving.answers["get_server_info"] = {**info, "force_remote_mode": True}
    client = Client(root, CONTEXT, server_url=serving.url)
    assert client.list_missing_rules() == []
    assert client.best_references(HEADER)["flat"].name == FLAT
    assert not serving.asked


def test_the_default_is_the_build_context_by_the_server(serving, root):
    client = Client(root, server_url=serving.url)
    assert client.context == "jwst_0001.pmap"
    assert "3.0.0" in client.context_reason


def test_cached_files_are_not_requested(serving, root):
    fill(Client(root, CONTEXT, server_url=serving.url))
    serving.requests.clear()
    client = Client(root, CONTEXT, server_url=serving.url)
    client.best_references(HEADER)
    client.fetch([FLAT]).check()
    assert serving.requests == []


def test_going_offline_is_a_mode(serving, root, caplog):
    fill(Client(root, "latest", server_url=serving.url))
    gone = "http://127.0.0.1:9"
    with caplog.at_level(logging.WARNING):
        client = Client(root, "latest", server_url=gone)
    assert "working offline" in caplog.text
    assert client.context == CONTEXT  # from the server's last description of itself
    assert client.best_references(HEADER)["flat"].name == FLAT
    names = [FLAT, "jwst_miri_flat_0001.fits", "jwst_miri_flat_0003.fits"]
    report = client.fetch(names)
    assert set(report.paths) == {FLAT}
    assert set(report.failed) == set(names[1:])
    for name in names[1:]:
        assert f"calbatch refs sync --files {name}" in report.failed[name]


def test_local_mode_never_contacts_the_server(serving, root):
    with pytest.raises(ReferenceMissing):
        Client(root, CONTEXT, mode="local", server_url=serving.url)
    assert serving.requests == []


def test_in_remote_mode_the_server_selects(serving, root):
    client = Client(root, "latest", mode="remote", server_url=serving.url)
    found = client.best_references(HEADER)
    assert (found["flat"].name, found["dark"].status) == (FLAT, "n/a")
    missed = client.best_references({**HEADER, "DETECTOR": "Z"}, ["flat"])["flat"]
    assert missed.status == "not found"
    assert "'Z' is not one of" in missed.reason
    assert not list(client.cache.mappings.glob("*map"))
    table = client.table(dict.fromkeys(range(5), HEADER))
    assert table.configurations == 1
    with pytest.raises(ContextError, match="nircam"):
        client.best_references({**HEADER, "INSTRUME": "NIRCAM"})


def test_remote_mode_needs_the_server(root):
    with pytest.raises(ServerError, match="names no server"):
        Client(root, CONTEXT, mode="remote")
    with pytest.raises(ServerError, match="127"):
        Client(root, "latest", mode="remote", server_url="http://127.0.0.1:9")


def test_serverless_addresses_mean_none(root):
    with pytest.raises(CrdsError, match="no server to ask"):
        Client(root, "latest", server_url="https://jwst-serverless.stsci.edu")


def test_withdrawn_references_are_refused(serving, root, monkeypatch):
    info = serving.rpc_get_server_info()
    serving.answers["get_server_info"] = {**info, "bad_files_list": [FLAT]}
    client = Client(root, CONTEXT, server_url=serving.url)
    client.fetch([FLAT]).check()
    with pytest.raises(WithdrawnReference, match="scientifically invalid"):
        client.locate(FLAT)
    monkeypatch.setenv("CRDS_ALLOW_BAD_REFERENCES", "1")
    assert client.locate(FLAT).exists()


def test_withdrawn_rules_are_refused(serving, root, monkeypatch):
    info = serving.rpc_get_server_info()
    bad = "jwst_miri_flat_0002.rmap"
    serving.answers["get_server_info"] = {**info, "bad_files_list": [bad]}
    client = Client(root, CONTEXT, server_url=serving.url)
    with pytest.raises(ContextError, match=bad):
        client.best_references(HEADER)
    monkeypatch.setenv("CRDS_ALLOW_BAD_RULES", "1")
    assert client.best_references(HEADER)["flat"].name == FLAT


def test_an_altered_rules_file_is_refused(serving, root):
    path = serving.files["jwst_miri_flat_0002.rmap"]
    path.write_text(path.read_text().replace("1900", "1901"))
    with pytest.raises(CrdsError, match="sha1sum"):
        Client(root, CONTEXT, server_url=serving.url).best_references(HEADER)


OFFICIAL = """
import json, sys, logging, crds
from crds.core import log
header = {"META.INSTRUMENT.NAME": "MIRI", "META.INSTRUMENT.DETECTOR": "A",
          "META.OBSERVATION.DATE": "2020-01-01", "META.OBSERVATION.TIME": "00:00:00"}
found = crds.getreferences(header, reftypes=["flat"], observatory="jwst", context=sys.argv[1])
print(json.dumps(found))
"""


def run_official(root, url, context):
    """Let PyPI crds find, and fetch if necessary, the flat; return its path."""
    environment = {
        **os.environ, "CRDS_PATH": str(root), "CRDS_SERVER_URL": url, "CRDS_OBSERVATORY": "jwst",
    }  # fmt: skip
    environment.pop("CRDS_MODE", None)
    done = subprocess.run(
        [sys.executable, "-c", OFFICIAL, context],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["flat"]


def test_the_official_client_accepts_the_test_server(serving, root):
    path = run_official(root, serving.url, CONTEXT)
    # our client finds the files in its cache
    assert str(Cache(root).locate(FLAT)) == path
    assert Client(root, CONTEXT, mode="local").best_references(HEADER)["flat"].name == FLAT


def test_the_official_client_works_offline_in_our_cache(serving, root):
    client = Client(root, "latest", server_url=serving.url)
    fill(client)
    path = run_official(root, "https://jwst-serverless.stsci.edu", CONTEXT)
    assert path == str(client.locate(FLAT))


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "miri/x.fits"])
def test_rules_that_name_a_path_are_rejected(serving, root, name):
    folder, parkey = serving.cache.mappings, ("META.INSTRUMENT.NAME",)
    kind = {"instrument": "MIRI", "filekind": "FLAT", "parkey": (("META.INSTRUMENT.DETECTOR",),)}
    write_mapping(folder, "jwst_miri_flat_0009.rmap", kind, f"Match({{'A': {name!r}}})")
    types = repr({"FLAT": "jwst_miri_flat_0009.rmap"})
    write_mapping(folder, "jwst_miri_0009.imap", {"instrument": "MIRI", "parkey": ()}, types)
    write_mapping(
        folder, "jwst_0009.pmap", {"parkey": parkey}, repr({"MIRI": "jwst_miri_0009.imap"})
    )
    write_mapping(folder, "jwst_0010.pmap", {"parkey": parkey}, repr({"MIRI": name}))
    client = Client(root, "jwst_0009.pmap", server_url=serving.url)
    chosen = client.best_references(HEADER)["flat"].name
    for use in (client.locate, lambda one: client.fetch([one])):
        with pytest.raises(UnsafeName, match="not the plain name"):
            use(chosen)
    with pytest.raises(UnsafeName, match="not the plain name"):
        Client(serving.cache.root, "jwst_0010.pmap", mode="local").best_references(HEADER)
    assert all(name not in asked for _, asked in serving.requests)
