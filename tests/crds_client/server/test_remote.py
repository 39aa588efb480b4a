"""Sources at URLs, and rules that a server applies."""

import pytest
from support.crds_server import CONTEXT, HEADER, CrdsServer, make_cache

from calbatch.crds_client.errors import ServerError
from calbatch.crds_client.rules.keywords import condition_header
from calbatch.crds_client.server.protocol import Patience, Server
from calbatch.crds_client.server.remote import (
    RemoteInstrument,
    contact,
    is_server_address,
    open_source,
)
from calbatch.crds_client.server.url_cache import UrlCache

QUICK = Patience(timeout=0.3, attempts=1, delay=0.0)
PARAMETERS = [
    "META.INSTRUMENT.NAME", "META.INSTRUMENT.DETECTOR", "META.OBSERVATION.DATE",
    "META.OBSERVATION.TIME",
]  # fmt: skip


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    with CrdsServer(make_cache(tmp_path_factory.mktemp("remote") / "served")) as made:
        yield made


@pytest.fixture
def server(serving):
    serving.answers = {}
    return Server(serving.url, patience=QUICK)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://crds.invalid", Server),
        ("https://crds.invalid/", Server),
        ("memory://crds", UrlCache),
        ("", None),
        (None, None),
        ("https://jwst-serverless.stsci.edu", None),
        ("https://server-less.invalid", None),
    ],
)
def test_the_url_determines_the_kind_of_source(url, kind):
    assert is_server_address(url) == (kind is not None)
    source = open_source(url, "jwst")
    assert (source is None) if kind is None else isinstance(source, kind)


def test_a_source_describes_itself(server):
    info = contact(server, required=False)
    assert info["latest_context"] == CONTEXT
    assert server.info is info


def test_an_unreachable_source_is_an_error_only_if_required(caplog):
    gone = Server("http://127.0.0.1:9", patience=QUICK)
    assert contact(gone, required=False) is None
    assert "working offline: CRDS server http://127.0.0.1:9" in caplog.text
    with pytest.raises(ServerError, match="get_server_info"):
        contact(gone, required=True)


def test_a_server_selects_by_its_rules(server):
    rules = RemoteInstrument(server, CONTEXT, "MIRI", [*PARAMETERS, *PARAMETERS])
    assert rules.parameters == tuple(PARAMETERS)
    assert list(rules.reference_rules()) == []
    header = condition_header({**HEADER, "INSTRUME": "MIRI"}, rules.parameters, "jwst")
    found = rules.resolve(header)
    assert (found["flat"].name, found["dark"].status) == ("jwst_miri_flat_0002.fits", "n/a")
    assert set(rules.types) == {"flat", "dark"}


@pytest.mark.parametrize(
    ("answer", "status", "names"),
    [
        ("a.fits", "found", ("a.fits",)),
        (["a.fits", "b.fits"], "found", ("a.fits", "b.fits")),
        ("N/A", "n/a", ()),
        (None, "n/a", ()),
        ("NOT FOUND n/a", "n/a", ()),
        ("NOT FOUND no match", "not found", ()),
    ],
)
def test_answers_of_a_server_are_resolutions(serving, server, answer, status, names):
    serving.answers = {"get_best_references": {"FLAT": answer}}
    found = RemoteInstrument(server, CONTEXT, "MIRI", PARAMETERS).resolve({})["flat"]
    assert (found.status, found.names) == (status, names)
    if answer == "NOT FOUND no match":
        assert found.reason == "no match"


def test_types_need_a_parameter_for_the_instrument(server):
    with pytest.raises(ServerError, match="no parameter of MIRI contains the instrument"):
        _ = RemoteInstrument(server, CONTEXT, "MIRI", PARAMETERS[2:]).types
