"""The memory limit of a process, the checks against it, and arrays on pages of their own."""

import resource

import dask
import numpy as np
import psutil
import pytest

from calbatch.models.errors import FileError, ModelError
from calbatch.models.storage import memory

GIB = 1 << 30


@pytest.fixture
def limit():
    with dask.config.set({memory.SETTING: GIB}):
        yield GIB


def test_the_machine_is_a_limit():
    with dask.config.set({memory.SETTING: None}):
        assert 0 < memory.memory_limit() <= psutil.virtual_memory().total


def test_the_setting_is_a_limit(limit):
    assert memory.memory_limit() == limit


@pytest.mark.parametrize(("text", "expected"), [("1000\n", 1000), ("max\n", GIB), ("-1\n", GIB)])
def test_the_container_is_a_limit(limit, monkeypatch, tmp_path, text, expected):
    (tmp_path / "memory.max").write_text(text)
    paths = (str(tmp_path / "memory.max"), str(tmp_path / "absent"))
    monkeypatch.setattr(memory, "_GROUPS", paths)
    assert memory.memory_limit() == expected


def test_processes_share_what_their_container_may_use(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("5000")
    (tmp_path / "memory.high").write_text("4000")
    monkeypatch.setattr(memory, "_GROUPS", [str(path) for path in tmp_path.iterdir()])
    with dask.config.set({memory.SETTING: 1000}):  # of one process
        assert memory.shared_memory_limit() == 4000
        assert memory.memory_limit() == 1000


@pytest.mark.parametrize(("soft", "expected"), [(5000, 5000), (resource.RLIM_INFINITY, GIB)])
def test_ulimit_is_a_limit(limit, monkeypatch, soft, expected):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, resource.RLIM_INFINITY))
    assert memory.memory_limit() == expected


def is_accepted(function, *arguments):
    try:
        function(*arguments)
    except ModelError:
        return False
    return True


def test_the_limit_is_the_largest_size_that_is_accepted(limit):
    sizes = limit - 1, limit, limit + 1
    wanted = [True, True, False]
    assert [is_accepted(memory.require_memory, "a.fits", n, "its image") for n in sizes] == wanted
    assert [is_accepted(memory.require_row, n) for n in sizes] == wanted


def test_larger_data_are_rejected(limit):
    message = r"its image takes 1\.07 GB of memory, and this process may use 1\.07 GB"
    with pytest.raises(FileError, match=rf"a\.fits: {message}"):
        memory.require_memory("a.fits", limit + 1, "its image")
    with pytest.raises(ModelError, match=r"one row of its frame, .* takes 1\.07 GB of memory"):
        memory.require_row(limit + 1)


@pytest.mark.parametrize("shape", [(3, 5), (0, 4), ()])
def test_an_array_on_its_own_pages_is_an_array_of_zeros(shape):
    array = memory.allocate_pages(shape, "f4")
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert np.array_equal(array, np.zeros(shape))
    array[...] = 3
    assert (array == 3).all()


def test_arrays_on_their_own_pages_are_recognized():
    array = memory.allocate_pages((4, 6), "f4")
    assert memory.has_own_pages(array)
    assert memory.has_own_pages(array.view("u4").reshape(-1))
    assert not memory.has_own_pages(array[1:])  # it keeps more pages than it needs
    assert not memory.has_own_pages(array.copy())
    assert not memory.has_own_pages(np.frombuffer(bytes(8), "f4"))


def test_pages_are_returned_with_their_array():
    process = psutil.Process()
    before = process.memory_info().rss
    array = memory.allocate_pages((64, 1 << 20), "u1")
    array[:] = 1
    assert process.memory_info().rss - before > 60 << 20
    del array
    assert process.memory_info().rss - before < 30 << 20
