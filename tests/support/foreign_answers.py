"""Answers of foreign CRDS servers: the well-formed ones, and others."""

import math

import jsonschema
from hypothesis import strategies as st

from calbatch.crds_client.server.protocol import Patience, Server
from support.crds_server import CONTEXT, HEADER

QUICK = Patience(timeout=0.3, attempts=1, delay=0.0)


NAME = "jwst_miri_flat_0000.fits"


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


def is_finite(value):
    """Return whether a value contains neither infinity nor NaN, which JSON cannot express."""
    if isinstance(value, float):
        return math.isfinite(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(is_finite, parts))


def is_valid(value, schema):
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def assert_named(error, server, method):
    assert server.url in str(error)
    assert method in str(error)
    assert "CRDS_SERVER_URL" in str(error)  # a remedy
    assert len(str(error)) < 1500


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


def file_server(serving, *pieces):
    """Return a server that answers requests for files with the given bytes."""
    server = Server(serving.url, patience=QUICK)
    server.info  # noqa: B018 - requested once
    serving.raw = lambda asked: pieces
    return server
