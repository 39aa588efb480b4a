"""Runs of rows: the bytes of any band of any planes, in order, in buffers of any size."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.fits.row_runs import find_runs, gather_runs

SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def draw_range(data: st.DataObject, length: int) -> range:
    start = data.draw(st.integers(0, length - 1))
    return range(start, data.draw(st.integers(start + 1, length)))


@given(SHAPES, st.data())
def test_runs_are_the_bytes_of_the_rows(shape: tuple[int, ...], data: st.DataObject) -> None:
    *leading, rows, _ = (draw_range(data, length) for length in shape)
    image = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    runs = find_runs(leading, rows, shape, shape[-1])
    found = [image.tobytes()[start : start + size] for start, size in runs]
    wanted = image[np.ix_(*leading, rows, range(shape[-1]))]
    assert b"".join(found) == wanted.tobytes()


def test_whole_planes_are_one_run() -> None:
    assert find_runs([range(1, 3), range(5)], range(6), (4, 5, 6, 7), 7) == [(210, 420)]


def test_planes_in_reverse_order_are_apart() -> None:
    assert find_runs([range(1, -1, -1)], range(3), (2, 3, 4), 4) == [(12, 12), (0, 12)]


def test_bands_of_two_axes_are_one_run() -> None:
    assert find_runs([], range(1, 3), (4, 5), 10) == [(10, 20)]


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9)), max_size=9), st.integers(1, 20)
)  # fmt: skip
def test_gathered_runs_fill_their_buffers(runs: list[tuple[int, int]], most: int) -> None:
    gathered = list(gather_runs(runs, most))
    wanted = [at for start, size in runs for at in range(start, start + size)]
    assert [at for part in gathered for s, n in part for at in range(s, s + n)] == wanted
    sizes = [sum(size for _, size in part) for part in gathered]
    assert all(size == most for size in sizes[:-1])
    assert all(0 < size <= most for size in sizes)
