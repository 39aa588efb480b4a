"""Garbage collection is suspended for imports, and only for them."""

import gc

import pytest

from calbatch.cluster.exposure.imports import collecting_later


@pytest.fixture(autouse=True)
def _collection():
    """Leave collection as it was before the test."""
    yield
    gc.unfreeze()
    gc.enable()


def test_later_collections_do_not_visit_what_was_imported():
    assert gc.isenabled()
    before = gc.get_freeze_count()
    with collecting_later():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() - before >= len(made)


def test_collection_goes_on_after_an_import_that_fails():
    with pytest.raises(ModuleNotFoundError), collecting_later():
        __import__("calbatch.no_such_module")
    assert gc.isenabled()
