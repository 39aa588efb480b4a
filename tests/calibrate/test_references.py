"""References are overridden, or chosen by rules that are fetched when they are needed."""

import pytest
from support.crds_server import CONTEXT, HEADER, CrdsServer, make_cache

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.references import (
    NOT_APPLICABLE,
    CrdsReferences,
    ResolvedReferences,
    resolve_override,
)

HEADERS = {0: HEADER}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server; the environment names it and an empty cache."""
    with CrdsServer(make_cache(tmp_path / "published")) as made:
        (tmp_path / "crds").mkdir()
        monkeypatch.setenv("CRDS_PATH", str(tmp_path / "crds"))
        monkeypatch.setenv("CRDS_SERVER_URL", made.url)
        for name in ("CRDS_CONTEXT", "CRDS_MODE", "CRDS_READONLY_CACHE"):
            monkeypatch.delenv(name, raising=False)
        yield made


def test_an_override_is_a_file_or_no_reference(tmp_path):
    (tmp_path / "flat.fits").write_bytes(b"")
    chosen = resolve_override("flat", tmp_path / "flat.fits")
    assert chosen.path == tmp_path / "flat.fits"
    assert resolve_override("flat", "n/a") == NOT_APPLICABLE
    with pytest.raises(ReferenceFileError, match="override_flat: no such file"):
        resolve_override("flat", tmp_path / "dark.fits")


def test_a_type_that_was_not_requested_is_an_error():
    with pytest.raises(ReferenceFileError, match="not requested when the batch was planned"):
        ResolvedReferences(CONTEXT).choose(dict, "flat")


def test_opening_fetches_no_rules(server):
    assert CrdsReferences(CONTEXT).context == CONTEXT
    assert not server.asked


def test_rules_are_fetched_before_references(server):
    fetched = []
    references = CrdsReferences(CONTEXT)

    def fetch(names):
        fetched.append(list(names))
        return references.fetch(names)

    for _ in range(2):
        found = references.resolve(HEADERS, ["flat"], fetch)[0]
        assert found.chosen["flat"].path.is_file()
    rules, files = fetched
    assert rules == ["jwst_miri_0002.imap", "jwst_miri_flat_0002.rmap"]
    assert files == [found.chosen["flat"].path.name]


def test_rules_that_cannot_be_fetched_are_an_error(server):
    server.faults["jwst_miri_0002.imap"] = ["gone"]
    with pytest.raises(ReferenceFileError, match=r"^1 file could not be fetched: jwst_miri_0002"):
        CrdsReferences(CONTEXT).resolve(HEADERS, ["flat"])
    assert server.asked["jwst_miri_0002.imap"] == 1
    assert CrdsReferences(CONTEXT).resolve(HEADERS, ["flat"])[0].is_complete


def test_a_read_only_cache_without_the_rules_is_told_once(server, monkeypatch):
    monkeypatch.setenv("CRDS_READONLY_CACHE", "1")
    with pytest.raises(ReferenceFileError, match=r"^2 files .* is read-only and lacks") as e:
        CrdsReferences(CONTEXT).resolve(HEADERS, ["flat"])
    assert str(e.value).count("CALBATCH_CRDS_OVERLAY") == 1
