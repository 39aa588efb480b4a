"""Answers are read correctly, in limited memory, or are errors."""

import gzip
import json
import subprocess
import sys
from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.crds_server import encode_answer
from support.foreign_answers import NAME, VALUES, is_finite

from calbatch.crds_client.answers import (
    FileInfo,
    decode_packed,
    file_descriptions,
    parse_infos,
    parse_json,
)
from calbatch.crds_client.errors import ServerError

MEASURE = """
import base64, resource, zlib
from calbatch.crds_client.answers import decode_packed, parse_json
from calbatch.crds_client.errors import ServerError

def packed(start, middle, times, end):
    # In pieces: what a bomb takes when it is made would hide what it takes when it is read.
    packer = zlib.compressobj(1, wbits=31)
    pieces = [packer.compress(start), *(packer.compress(middle * 1024) for _ in range(times))]
    payload = base64.b64encode(b"".join([*pieces, packer.compress(end), packer.flush()])).decode()
    return {"crds_encoded": "1.0", "crds_payload": payload}

def bombs():
    yield decode_packed, packed(b'"', b"0", 200 << 10, b'"')
    yield decode_packed, packed(b"[", b"[],", 5 << 10, b"[]]")
    yield decode_packed, packed(b"[", b"{},", 5 << 10, b"{}]")
    yield decode_packed, packed(b"[", b"[", 30 << 10, b"")
    yield parse_json, b"[" + b"1.5," * (3 << 20) + b"1]"

for parse, bomb in bombs():
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
    assert file_descriptions({"download_metadata": encode_answer(catalogue)}) == catalogue


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
    assert decode_packed(encode_answer(value)) == value


@given(payload=VALUES)
@example(payload="é")
@example(payload=5)
@example(payload=b64encode(gzip.compress(b"[1", 1)).decode())
@example(payload=b64encode(gzip.compress(b"[1]", 1)[:-9]).decode())
def test_a_damaged_compressed_value_is_an_error(payload):
    with pytest.raises(ServerError, match="cannot be decompressed: "):
        decode_packed({"crds_encoded": "1.0", "crds_payload": payload})
