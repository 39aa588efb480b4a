"""Foreign answers are used correctly, or are errors that name the server and the question."""

import contextlib
import copy
import http.client
import io
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.crds_server import CONTEXT, HEADER
from support.foreign_answers import (
    BY_NAME,
    CONTEXTS,
    NAME,
    QUESTIONS,
    QUICK,
    RESPONSES,
    SCHEMAS,
    VALUES,
    assert_named,
    is_finite,
    is_valid,
    response,
)

from calbatch.crds_client import Client
from calbatch.crds_client.cache.layout import Cache
from calbatch.crds_client.cache_client import CacheClient
from calbatch.crds_client.errors import CrdsError, ServerError
from calbatch.crds_client.server.protocol import Server

FLAT = "jwst_miri_flat_0002.fits"


FLATS = {"jwst_0001.pmap": "jwst_miri_flat_0001.fits", "jwst_0002.pmap": FLAT}
"""The reference of `HEADER` by context."""


def mutate(data, value):
    """Return a copy of a value in which one part is replaced or removed."""
    if not isinstance(value, (dict, list)) or not value or data.draw(st.integers(0, 3)) == 0:
        return data.draw(VALUES)
    value = copy.copy(value)
    key = data.draw(
        st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value)))
    )
    if isinstance(value, dict) and data.draw(st.booleans()):
        del value[key]
    else:
        value[key] = mutate(data, value[key])
    return value


def parameters_of(method):
    return {
        "get_server_info": [],
        "get_best_references": [CONTEXT, {**HEADER, "META.INSTRUMENT.NAME": "MIRI"}],
        "get_file_info_map": ["jwst", [NAME]],
        "get_default_context": ["jwst"],
        "get_build_context": ["jwst", "3.0.0"],
        "get_context_by_date": ["2020-01-01", "jwst"],
    }.get(method, [CONTEXT])


def ask(server, method):
    """Return the answer, or the error, after checking that it names server and question."""
    try:
        return QUESTIONS[method](server)
    except CrdsError as error:
        assert_named(error, server, method)
        return error


def meaning(method, answer, server):
    """Return the expected value for a well-formed answer."""
    if method == "get_server_info":
        return {**answer, "server": server.url}
    if method == "get_required_parkeys":
        return {instrument.lower(): names for instrument, names in answer.items()}
    if method == "get_file_info_map":
        return {}  # a file that the server does not know
    return answer


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(sorted(QUESTIONS)), data=st.data())
def test_an_answer_is_used_if_it_is_well_formed_and_rejected_otherwise(foreign, method, data):
    foreign.answers = {}
    real = foreign.call(method, parameters_of(method))
    answer = mutate(data, real) if data.draw(st.booleans()) else data.draw(VALUES)
    foreign.answers = {method: answer}
    server = Server(foreign.url, patience=QUICK)
    result = ask(server, method)
    if method == "get_file_info_map" and not is_finite(answer):
        assert result == {}  # the server's catalogue was requested before
    elif is_finite(answer) and is_valid(answer, SCHEMAS[method]):
        assert result == meaning(method, answer, server)
    else:
        assert isinstance(result, CrdsError)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@example(data=None)
def test_a_client_chooses_and_fetches_the_right_file_or_fails(foreign, tmp_path_factory, data):
    info = foreign.rpc_get_server_info()
    info = {"a": deep(900)} if data is None else mutate(data, info)
    foreign.answers = {"get_server_info": info}
    if data is not None and data.draw(st.booleans()):
        method = data.draw(st.sampled_from(sorted(QUESTIONS)))
        foreign.answers[method] = data.draw(VALUES)
    root = tmp_path_factory.mktemp("cache")
    for mode in ("auto", "remote"):
        with contextlib.suppress(CrdsError):
            client = Client(root, "latest", mode=mode, server_url=foreign.url)
            chosen = client.best_references(HEADER)
            if client.mode == "auto" or "get_best_references" not in foreign.answers:
                assert chosen["flat"].name == FLATS[client.context]
            report = CacheClient(root, mode=mode, server_url=foreign.url).fetch([FLAT])
            report.check()
            assert report.paths[FLAT].read_bytes() == foreign.files[FLAT].read_bytes()
    if kept := Cache(root).server_config():
        assert kept == {**foreign.answers["get_server_info"], "server": foreign.url}


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("method", ["get_default_context", "get_server_info"])
def test_a_response_that_is_no_answer_is_an_error(foreign, name, method):
    foreign.raw = lambda asked: [RESPONSES[name]]
    server = Server(foreign.url, patience=QUICK)
    with pytest.raises(ServerError) as caught:
        QUESTIONS[method](server)
    assert_named(caught.value, server, method)


class Received(io.BytesIO):
    """Bytes in the place of a socket."""

    def makefile(self, *_):
        return self


def context_in(content):
    """Return the context in a whole response, by http.client and json; None if there is none."""
    try:
        with contextlib.closing(http.client.HTTPResponse(Received(content))) as received:
            received.begin()
            answer = json.loads(received.read())
            valid = is_valid(answer, BY_NAME) and is_valid(answer.get("result"), CONTEXTS)
            return answer["result"] if valid and received.status // 100 == 2 else None
    except (http.client.HTTPException, ValueError):
        return None


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), junk=st.binary(max_size=60))
def test_a_damaged_response_is_read_like_http_and_json_or_rejected(foreign, data, junk):
    answer = json.dumps({"id": 1, "error": None, "result": "jwst_0001.pmap"}).encode()
    whole = response(answer)
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 20))
    damaged = whole[:at] + junk + whole[at + cut :]
    foreign.raw = lambda asked: [damaged]
    result = ask(Server(foreign.url, patience=QUICK), "get_default_context")
    expected = context_in(damaged)
    assert result == expected if expected else isinstance(result, ServerError)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_question_is_not_redirected(foreign, status):
    foreign.raw = lambda asked: [response(b"", f"{status} M", Location="https://new.invalid/")]
    server = Server(foreign.url, patience=QUICK)
    with pytest.raises(ServerError, match=r"redirected to https://new\.invalid/") as caught:
        server.default_context("latest")
    assert_named(caught.value, server, "get_default_context")
