"""The inputs of a batch with their numbers."""

import tracemalloc
from pathlib import Path

import pytest

from calbatch.cluster.planning.input_list import InputList
from calbatch.models.storage.location import Url

PAIRS = [(3, Path("/in/a_uncal.fits")), (5, Url("s3://bucket/b.fits")), (9, Path("c.fits"))]


def test_it_holds_the_pairs_that_it_was_made_from():
    found = InputList(PAIRS)
    assert list(found) == PAIRS
    assert len(found) == 3
    assert found[1] == PAIRS[1]
    assert found[-1] == PAIRS[-1]
    assert found[1:] == PAIRS[1:]
    assert list(found.paths()) == [path for _, path in PAIRS]
    with pytest.raises(IndexError):
        found[3]


def test_paths_may_be_texts():
    assert list(InputList([(0, "/in/a.fits")])) == [(0, Path("/in/a.fits"))]


def test_an_empty_list_is_false():
    assert not InputList()
    assert InputList(PAIRS)


def test_inputs_are_selected_by_number():
    assert list(InputList(PAIRS).select(lambda number: number != 5)) == [PAIRS[0], PAIRS[2]]


def test_an_input_takes_less_memory_than_its_path_object():
    names = [f"/data/in/jw{number:011}_02101_00001_nrca1_uncal.fits" for number in range(2000)]
    tracemalloc.start()
    try:
        kept = InputList(enumerate(names))
        compact, _ = tracemalloc.get_traced_memory()
        objects = [(number, Path(name)) for number, name in enumerate(names)]
        both, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == len(objects)
    assert compact < (both - compact) / 2
