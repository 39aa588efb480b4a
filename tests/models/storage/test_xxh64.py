"""XXH64, against published digests and its specification."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.xxh64 import xxh64_of

from calbatch.models.storage.xxh64 import Xxh64

compiling = settings(deadline=None)  # the first call may compile

PUBLISHED = {
    b"": "ef46db3751d8e999",
    b"a": "d24ec4f1a98c6e5b",
    b"abc": "44bc2cf5ad770999",
    b"asdf": "415872f599cea71e",
    b"Call me Ishmael. Some years ago--never mind how long precisely-": "02a2e85470d6fd96",
}
"""Digests of xxHash's own tests, and of those of its implementation in Go (cespare/xxhash)."""


def digest_of(*pieces):
    digest = Xxh64()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


@pytest.mark.parametrize("content", PUBLISHED)
def test_published_digests_are_reproduced(content):
    assert digest_of(content) == xxh64_of(content) == PUBLISHED[content]


@compiling
@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_any_pieces_give_the_digest_of_the_specification(content, cuts):
    edges = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    pieces = [content[a:b] for a, b in itertools.pairwise(edges)]
    assert digest_of(*pieces) == xxh64_of(content)


@compiling
@given(st.integers(0, 9), st.integers(0, 70))
def test_buffers_at_any_address_give_the_same(start, size):
    buffer = bytearray(np.arange(80, dtype=np.uint8).tobytes())
    part = memoryview(buffer)[start : start + size]
    assert digest_of(part) == xxh64_of(bytes(part))
