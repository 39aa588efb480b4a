"""Foreign answers are used correctly, or are errors that name the server and the question."""

import ast
import contextlib
import copy
import gzip
import http.client
import io
import itertools
import json
import math
import ssl
import subprocess
import sys
from base64 import b64encode

import fsspec
import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.crds_server import CONTEXT, HEADER, CrdsServer, encoded, make_cache
from support.tls import certificate
from support.waiting import be_slow

from calbatch.crds_client import Client
from calbatch.crds_client.answers import (
    FileInfo,
    decode_packed,
    file_descriptions,
    parse_infos,
    parse_json,
)
from calbatch.crds_client.cache.layout import Cache
from calbatch.crds_client.cache_client import CacheClient
from calbatch.crds_client.errors import CrdsError, ServerError
from calbatch.crds_client.fetching import Fetcher
from calbatch.crds_client.server.protocol import Patience, Server
from calbatch.crds_client.server.url_cache import UrlCache

QUICK = Patience(timeout=0.3, attempts=1, delay=0.0)
NAME = "jwst_miri_flat_0000.fits"
FLAT = "jwst_miri_flat_0002.fits"
FLATS = {"jwst_0001.pmap": "jwst_miri_flat_0001.fits", "jwst_0002.pmap": FLAT}
"""The reference of `HEADER` by context."""

QUESTIONS = {
    "get_server_info": lambda server: server.info,
    "get_default_context": lambda server: server.default_context("latest"),
    "get_build_context": lambda server: server.build_context("3.0.0"),
    "get_context_by_date": lambda server: server.context_by_date("2020-01-01"),
    "get_mapping_names": lambda server: server.mapping_names(CONTEXT),
    "get_required_parkeys": lambda server: server.selection_parameters(CONTEXT),
    "get_best_references": lambda server: server.best_references(CONTEXT, HEADER, None),
    "get_file_info_map": lambda server: server.file_infos(["jwst_miri_flat_9999.fits"]),
}

NAMES = {"type": "string", "pattern": r"\A(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._+-]{0,254}\Z"}
CONTEXTS = {"allOf": [NAMES, {"pattern": r"\.pmap\Z"}]}
TEXTS = {"type": "string", "minLength": 1}
LISTS = {"type": "array", "items": {"type": "string"}}
BY_NAME = {"type": "object", "propertyNames": TEXTS}
OR_NULL = {"anyOf": [{"type": "null"}, TEXTS]}
CONFIG = {
    **BY_NAME,
    "properties": {
        "observatory": OR_NULL,
        "edit_context": OR_NULL,
        "latest_context": OR_NULL,
        "operational_context": OR_NULL,
        "bad_files_list": {"anyOf": [{"type": "null"}, LISTS]},
    },
}
SCHEMAS = {
    "get_server_info": {
        "allOf": [CONFIG, {"properties": {"observatory": {"enum": [None, "jwst"]}}}]
    },
    "get_default_context": CONTEXTS,
    "get_build_context": CONTEXTS,
    "get_context_by_date": CONTEXTS,
    "get_mapping_names": {"type": "array", "items": NAMES},
    "get_required_parkeys": {**BY_NAME, "additionalProperties": LISTS},
    "get_best_references": {
        **BY_NAME,
        "additionalProperties": {"anyOf": [{"type": "null"}, TEXTS, LISTS]},
    },
    "get_file_info_map": BY_NAME,
}
"""The answers that are well formed, as JSON schemas."""

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["../../x.pmap", "N/A", "NOT FOUND n/a", "ftp://x", "²", "9" * 30, "\x1b[31m"]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["miri", "flat"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    with CrdsServer(make_cache(tmp_path_factory.mktemp("foreign") / "served")) as made:
        yield made


@pytest.fixture(autouse=True)
def _as_it_was(serving, monkeypatch):
    monkeypatch.setenv("CRDS_CLIENT_RETRY_COUNT", "1")
    monkeypatch.setenv("CRDS_CLIENT_TIMEOUT_SECONDS", "0.3")
    monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "0")
    for name in ("CRDS_CONTEXT", "CRDS_MODE", "CRDS_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    yield
    serving.answers, serving.raw = {}, None


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return Cache(tmp_path / "cache")


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


def assert_named(error, server, method):
    assert server.url in str(error)
    assert method in str(error)
    assert "CRDS_SERVER_URL" in str(error)  # a remedy
    assert len(str(error)) < 1500


def is_finite(value):
    """Return whether a value contains neither infinity nor NaN, which JSON cannot express."""
    if isinstance(value, float):
        return math.isfinite(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(is_finite, parts))


def is_valid(value, schema):
    return jsonschema.Draft202012Validator(schema).is_valid(value)


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
def test_an_answer_is_used_if_it_is_well_formed_and_rejected_otherwise(serving, method, data):
    serving.answers = {}
    real = serving.call(method, parameters_of(method))
    answer = mutate(data, real) if data.draw(st.booleans()) else data.draw(VALUES)
    serving.answers = {method: answer}
    server = Server(serving.url, patience=QUICK)
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
def test_a_client_chooses_and_fetches_the_right_file_or_fails(serving, tmp_path_factory, data):
    info = serving.rpc_get_server_info()
    info = {"a": deep(900)} if data is None else mutate(data, info)
    serving.answers = {"get_server_info": info}
    if data is not None and data.draw(st.booleans()):
        method = data.draw(st.sampled_from(sorted(QUESTIONS)))
        serving.answers[method] = data.draw(VALUES)
    root = tmp_path_factory.mktemp("cache")
    for mode in ("auto", "remote"):
        with contextlib.suppress(CrdsError):
            client = Client(root, "latest", mode=mode, server_url=serving.url)
            chosen = client.best_references(HEADER)
            if client.mode == "auto" or "get_best_references" not in serving.answers:
                assert chosen["flat"].name == FLATS[client.context]
            report = CacheClient(root, mode=mode, server_url=serving.url).fetch([FLAT])
            report.check()
            assert report.paths[FLAT].read_bytes() == serving.files[FLAT].read_bytes()
    if kept := Cache(root).server_config():
        assert kept == {**serving.answers["get_server_info"], "server": serving.url}


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


BODIES = {
    "an error page": b"<html><body>Bad gateway</body></html>",
    "nothing": b"",
    "not UTF-8": b'{"result": "\xff\xfe"}',
    "cut short": b'{"result": "jwst_00',
    "a list": b'[{"result": "jwst_0001.pmap"}]',
    "a number": b"1",
    "no result": b"{}",
    "brackets without end": b"[" * 100_000,
    "a number of 5000 digits": b'{"result": ' + b"9" * 5000 + b"}",
    "not a number": b'{"result": NaN}',
    "an infinite number": b'{"result": 1e999}',
    "an error that is a list": b'{"error": [1, 2], "result": null}',
    "an error without end": b'{"error": {"message": "' + b"x&lt;" * 100_000 + b'"}}',
    "an error without words": b'{"error": {"message": null}}',
}


def response(body, status="200 OK", **headers):
    named = {"Content-Length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{key}: {value}" for key, value in named.items() if value)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


RESPONSES = {
    **{name: response(body) for name, body in BODIES.items()},
    "no response": b"",
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "no status": response(b"{}", "soon"),
    "an unknown status": response(b"{}", "799 Huh"),
    "no content": response(b"", "204 No Content"),
    "not modified": response(b"", "304 Not Modified"),
    "forbidden": response(b"no", "403 \x1b[31mForbidden"),
    "gone": response(b"no", "404 Not Found"),
    "broken": response(b"no", "500 Oh"),
    "absurdly long": response(b"{", **{"Content-Length": "9" * 30}),
    "longer than it is": response(b'{"result": 1}', **{"Content-Length": "1000"}),
    "of negative length": response(b"{}", **{"Content-Length": "-7"}),
    "of a length that is no number": response(b"{", **{"Content-Length": "many"}),
    "chunks that are none": response(b"zz\r\n{}", **{"Transfer-Encoding": "chunked"}),
    "a chunk cut short": response(b"ffff\r\n{}", **{"Transfer-Encoding": "chunked"}),
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
    "a redirection to nowhere": response(b"", "302 Found"),
    "a redirection that is no address": response(b"", "302 Found", Location="http://[::x/"),
}


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("method", ["get_default_context", "get_server_info"])
def test_a_response_that_is_no_answer_is_an_error(serving, name, method):
    serving.raw = lambda asked: [RESPONSES[name]]
    server = Server(serving.url, patience=QUICK)
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
def test_a_damaged_response_is_read_like_http_and_json_or_rejected(serving, data, junk):
    answer = json.dumps({"id": 1, "error": None, "result": "jwst_0001.pmap"}).encode()
    whole = response(answer)
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 20))
    damaged = whole[:at] + junk + whole[at + cut :]
    serving.raw = lambda asked: [damaged]
    result = ask(Server(serving.url, patience=QUICK), "get_default_context")
    expected = context_in(damaged)
    assert result == expected if expected else isinstance(result, ServerError)


# -- files -------------------------------------------------------------------------------------


def file_server(serving, *pieces):
    """Return a server that answers requests for files with the given bytes."""
    server = Server(serving.url, patience=QUICK)
    server.info  # noqa: B018 - requested once
    serving.raw = lambda asked: pieces
    return server


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_that_is_no_file_fails(serving, cache, name):
    report = Fetcher(cache, file_server(serving, RESPONSES[name]), patience=QUICK).fetch([NAME])
    assert set(report.failed) == {NAME}
    assert cache.find(NAME) is None


@pytest.mark.parametrize("content_range", ["bytes 0-9/50000", "bytes 7-9/*", "items 5-9/10", None])
def test_another_part_of_a_file_than_requested_is_rejected(serving, cache, content_range):
    content = serving.files[NAME].read_bytes()
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:5])
    answer = response(content[5:], "206 Partial Content", **{"Content-Range": content_range})
    fetcher = Fetcher(cache, file_server(serving, answer), patience=QUICK)
    assert set(fetcher.fetch([NAME]).failed) == {NAME}
    serving.raw = None
    fetcher.fetch([NAME]).check()
    assert cache.locate(NAME).read_bytes() == content


# -- redirections ------------------------------------------------------------------------------

ELSEWHERE = ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x", "gopher://x/", "gopher://[x"]


@pytest.mark.parametrize("target", ELSEWHERE)
def test_only_http_is_followed(serving, cache, target):
    answer = response(b"", "302 Found", Location=target)
    report = Fetcher(cache, file_server(serving, answer), patience=QUICK).fetch([NAME])
    assert f"/{NAME}: " in report.failed[NAME]
    assert cache.find(NAME) is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_file_arrives(serving, cache, status):
    content = serving.files[NAME].read_bytes()

    def answer(asked):
        moved = response(b"", f"{status} Moved", Location=f"{serving.url}/elsewhere")
        yield response(content) if asked == "elsewhere" else moved

    server = file_server(serving)
    serving.raw = answer
    Fetcher(cache, server, patience=QUICK).fetch([NAME]).check()
    assert cache.locate(NAME).read_bytes() == content


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_question_is_not_redirected(serving, status):
    serving.raw = lambda asked: [response(b"", f"{status} M", Location="https://new.invalid/")]
    server = Server(serving.url, patience=QUICK)
    with pytest.raises(ServerError, match=r"redirected to https://new\.invalid/") as caught:
        server.default_context("latest")
    assert_named(caught.value, server, "get_default_context")


def test_a_loop_of_redirections_ends(serving, cache):
    server = file_server(serving)
    count = itertools.count()
    serving.raw = lambda asked: [
        response(b"", "302 Found", Location=f"{serving.url}/{next(count) % 3}")
    ]
    assert set(Fetcher(cache, server, patience=QUICK).fetch([NAME]).failed) == {NAME}
    assert next(count) < 50


def test_an_encrypted_download_stays_encrypted(serving, cache, tmp_path, monkeypatch):
    authority, chain = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    patience = Patience(timeout=10.0, attempts=1, delay=0.0)
    with CrdsServer(serving.cache) as secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        secure.http.socket = context.wrap_socket(secure.http.socket, server_side=True)
        secure.url = secure.url.replace("http:", "https:")
        server = Server(secure.url, patience=patience)
        Fetcher(cache, server, patience=patience).fetch([FLAT]).check()  # encryption works
        plain = f"{serving.url}/references/jwst/{NAME}"
        secure.raw = lambda asked: [response(b"", "302 Found", Location=plain)]
        report = Fetcher(cache, server, patience=patience).fetch([NAME])
    assert "not encrypted" in report.failed[NAME]
    assert cache.find(NAME) is None


# -- time and memory ---------------------------------------------------------------------------


def trickling(start, piece):
    """Yield pieces until the client closes the connection."""
    yield start
    while True:
        be_slow(0.02)
        yield piece


TRICKLES = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("what", TRICKLES)
def test_an_answer_that_is_too_slow_is_aborted(serving, cache, what):
    server = file_server(serving)
    serving.raw = lambda asked: trickling(*TRICKLES[what])
    with pytest.raises(ServerError) as caught:
        server.default_context("latest")
    assert_named(caught.value, server, "get_default_context")
    assert set(Fetcher(cache, server, patience=QUICK).fetch([NAME]).failed) == {NAME}


MEASURE = """
import base64, gzip, resource
from calbatch.crds_client.answers import decode_packed, parse_json
from calbatch.crds_client.errors import ServerError

def packed(text):
    payload = base64.b64encode(gzip.compress(text, 1)).decode()
    return {"crds_encoded": "1.0", "crds_payload": payload}

def bombs():
    yield decode_packed, packed(b'"' + b"0" * (200 << 20) + b'"')
    yield decode_packed, packed(b"[" + b"[]," * (5 << 20) + b"[]]")
    yield decode_packed, packed(b"[" + b"{}," * (5 << 20) + b"{}]")
    yield decode_packed, packed(b"[" * (30 << 20))
    yield parse_json, b"[" + b"1.5," * (3 << 20) + b"1]"

for parse, bomb in [*bombs()]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        parse(bomb)
    except ServerError:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_compressed_answers_take_limited_memory():
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    )
    grown = [int(line) for line in done.stdout.split()]
    assert len(grown) == 5  # all were rejected
    assert max(grown) < 200_000  # KiB


def test_the_catalogue_of_a_whole_archive_is_accepted():
    entry = {"size": "123456789", "sha1sum": "0" * 40, "instrument": "miri", "blacklisted": "false"}
    catalogue = {f"jwst_miri_flat_{number:06}.fits": entry for number in range(50_000)}
    assert file_descriptions({"download_metadata": encoded(catalogue)}) == catalogue


@given(size=VALUES)
@example(size="²")
@example(size="9" * 5000)
@example(size=-1)
def test_sizes_are_numbers(size):
    known = parse_infos({NAME: {"size": size, "sha1sum": None}}, [NAME])
    assert known in ({}, {NAME: FileInfo(int(size), "")} if known else {})


@given(text=st.binary(max_size=100))
def test_any_text_is_json_or_an_error(text):
    try:
        value = parse_json(text)
    except ServerError:
        return
    assert repr(value) == repr(json.loads(text))


@given(value=VALUES)
def test_a_value_that_is_not_compressed_is_unchanged(value):
    assert decode_packed(value) is value


@given(value=VALUES.filter(is_finite))
def test_a_compressed_value_is_decompressed(value):
    assert decode_packed(encoded(value)) == value


@given(payload=VALUES)
@example(payload="é")
@example(payload=5)
@example(payload=b64encode(gzip.compress(b"[1", 1)).decode())
@example(payload=b64encode(gzip.compress(b"[1]", 1)[:-9]).decode())
def test_a_damaged_compressed_value_is_an_error(payload):
    with pytest.raises(ServerError, match="cannot be decompressed: "):
        decode_packed({"crds_encoded": "1.0", "crds_payload": payload})


# -- caches at URLs ----------------------------------------------------------------------------

DESCRIBED = {NAME: {"size": "5"}}
PACKED = encoded(DESCRIBED)
CONFIGS = st.binary(max_size=60) | VALUES.map(lambda value: repr(value).encode())


@given(text=CONFIGS)
@example(text=b"(" * 5000)
@example(text=b"{'download_metadata': {'crds_encoded': 1, 'crds_payload': 'x'}}")
@example(text=b"{'edit_context': '../x', 'download_metadata': [1]}")
@example(text=b"{[]: 1}")
@example(text=repr({"edit_context": CONTEXT, "download_metadata": DESCRIBED}).encode())
@example(text=repr({"download_metadata": PACKED}).encode())
def test_the_config_of_a_published_cache_is_used_if_it_is_valid(text):
    files = fsspec.filesystem("memory")
    files.pipe("/foreign/config/jwst/server_config", text)
    config = config_in(text)
    check_url_cache(lambda source: source.info, config)
    context = (config or {}).get("edit_context")
    context = context if is_valid(context, NAMES) else None
    check_url_cache(lambda source: source.default_context("edit"), context)
    check_url_cache(lambda source: source.file_infos([NAME]), infos_in(config))


def config_in(text):
    """Return the dictionary that a file holds, as Python reads it; None if it is no valid one."""
    try:
        config = ast.literal_eval(text.decode())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return config if is_valid(config, CONFIG) else None


def infos_in(config):
    """Return the description of the file ``NAME`` in a configuration; None if it is damaged."""
    if config is None:
        return None
    described = config.get("download_metadata")
    if described in (DESCRIBED, PACKED):
        return {NAME: FileInfo(5, "")}
    valid = described is None or (is_valid(described, BY_NAME) and "crds_encoded" not in described)
    return {} if valid else None


def check_url_cache(question, expected):
    """Compare the answer of a cache at a URL; None stands for an error."""
    source = UrlCache("memory://foreign")
    if expected is None:
        with pytest.raises(CrdsError):
            question(source)
    else:
        assert question(source) == expected
