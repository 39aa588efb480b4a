"""Tiles of a frame: regions, and the arrays that cover them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models.fits.readers import Reader
from calbatch.models.fits.row_runs import Bounds
from calbatch.models.tiling.reference_cache import read_shared_columns

Array = npt.NDArray[Any]


class Region(NamedTuple):
    """A rectangle of the frame: half-open ranges of file rows and columns."""

    rows: tuple[int, int]
    cols: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    def grow(self, radius: int, frame: tuple[int, int]) -> "Region":
        """Return the region with ``radius`` more pixels on each side, clipped to the frame."""
        (top, bottom), (left, right) = self
        return Region(
            (max(0, top - radius), min(frame[0], bottom + radius)),
            (max(0, left - radius), min(frame[1], right + radius)),
        )

    def within(self, outer: "Region") -> tuple[slice, slice]:
        """Return the slices that select this region from an array covering ``outer``."""
        (top, bottom), (left, right) = self
        row0, col0 = outer.rows[0], outer.cols[0]
        return slice(top - row0, bottom - row0), slice(left - col0, right - col0)


class _Placeholder:
    """A kernel argument that stands for a value that is known when the kernel is called.

    It is false, so that a kernel that receives it by mistake does not overwrite anything.

    Parameters
    ----------
    name : str
        The name of the constant.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        return False


REGION = _Placeholder("REGION")
"""Kernel argument that stands for the `Region` covered by the kernel's arrays."""

CORE = _Placeholder("CORE")
"""Kernel argument that stands for the `Region` of the tile without its halo."""

MAY_OVERWRITE = _Placeholder("MAY_OVERWRITE")
"""Kernel argument that stands for True if the kernel may overwrite the array of its first field.

It may if it returns that field, operations are applied to the tile in turn, and nothing else refers
to the array, such as a product, a tile that is kept, or a cache. A kernel that asks should always
do it when it may: the budget of memory counts on it.
"""


class RegionReads:
    """Reads for the tiles of known regions: regions on the same rows are read in one pass.

    Files store whole rows, so reading columns at both edges costs as much as reading everything
    in between.

    Parameters
    ----------
    regions : sequence of Region
        Regions to be read one after the other; none is known by default.
    """

    def __init__(self, regions: "Sequence[Region]" = ()) -> None:
        by_rows: dict[Bounds, dict[Bounds, None]] = {}
        for rows, cols in regions:
            by_rows.setdefault(rows, {})[cols] = None
        self._column_ranges = {rows: list(cols) for rows, cols in by_rows.items() if len(cols) > 1}
        self._read_ahead: dict[tuple[Any, Reader, Region], Array] = {}

    def read_own(self, reader: Reader, region: Region) -> Array:
        """Return a region of a reader as an array that nothing else refers to."""
        return self._read(Reader.read_beside, reader, region)

    def read_shared(self, reader: Reader, region: Region) -> Array:
        """Return a region of a reader, read-only; see `calbatch.models.tiling.reference_cache`."""
        return self._read(read_shared_columns, reader, region)

    def _read(
        self,
        read: Callable[[Reader, Bounds, Sequence[Bounds]], list[Array]],
        reader: Reader,
        region: Region,
    ) -> Array:
        rows, cols = region
        together = self._column_ranges.get(rows, ())
        if cols not in together:
            (array,) = read(reader, rows, [cols])
            return array
        if (read, reader, region) not in self._read_ahead:
            arrays = read(reader, rows, together)
            for each, array in zip(together, arrays, strict=True):
                self._read_ahead[read, reader, Region(rows, each)] = array
        return self._read_ahead.pop((read, reader, region))


INDEPENDENT_READS = RegionReads()
"""For tiles of the whole frame's width: no other region is on their rows."""


def _count_references(arrays: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Return the numbers of references to an array, and to the one whose memory it is a view of."""
    of_owner = 0 if arrays[name].base is None else sys.getrefcount(arrays[name].base)
    return sys.getrefcount(arrays[name]), of_owner


_UNSHARED = _count_references({"view": np.empty(1)[:]}, "view")
"""The counts of a view to which only a mapping refers; they depend on the version of Python."""


def _has_memory(array: Array) -> bool:
    """Return whether an array lies in memory of NumPy's that may be written to."""
    owner = array if array.base is None else array.base
    owns = isinstance(owner, np.ndarray) and owner.flags.owndata
    return owns and array.flags.writeable and array.flags.c_contiguous


@dataclass(frozen=True)
class Tile:
    """A region of an exposure and its arrays.

    Attributes
    ----------
    region : Region
        The pixels that the arrays cover.
    core : Region
        The region without its halo.
    arrays : mapping
        An array, or the reader it will be read from, for each field.
    counts : mapping
        Row counts that kernels returned for the core.
    receipts : tuple of (int, object)
        For each sink that the tile passed, its index and the value it returned.
    seconds : mapping
        CPU seconds by operation label.
    reads : RegionReads
        The reads that this tile shares with others.
    is_own : bool
        True if nothing refers to it but the operations that are being applied to it in turn.
    """

    region: Region
    core: Region
    arrays: Mapping[str, Array | Reader]
    counts: Mapping[str, Array] = field(default_factory=dict)
    receipts: tuple[tuple[int, Any], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    reads: RegionReads = INDEPENDENT_READS
    is_own: bool = False

    def load(self, name: str) -> Array:
        """Return a field over the whole region, reading it on first use."""
        value = self.arrays[name]
        if isinstance(value, np.ndarray):
            return value
        array = self.reads.read_own(value, self.region)
        self.arrays[name] = array  # type: ignore[index]  # a cache: each tile owns its dict
        return array

    def may_overwrite(self, name: str) -> bool:
        """Return whether only this tile refers to the array of a field, which is read first."""
        if not (self.is_own and _has_memory(self.load(name))):
            return False
        array, owner = _count_references(self.arrays, name)
        return array <= _UNSHARED[0] and owner <= _UNSHARED[1]

    def core_rows(self, name: str) -> Array:
        """Return a view of a field without the halo."""
        rows, cols = self.core.within(self.region)
        return self.load(name)[..., rows, cols]

    def crop(self) -> "Tile":
        """Return the tile without its halo."""
        if self.region == self.core:
            return self
        return replace(self, region=self.core, arrays={n: self.core_rows(n) for n in self.arrays})

    def narrow(self, halo: int, names: Sequence[str]) -> "Tile":
        """Return the tile with only some of its fields, and a halo of at most ``halo`` rows."""
        (first, last), (top, bottom) = self.core.rows, self.region.rows
        region = Region((max(first - halo, top), min(last + halo, bottom)), self.region.cols)
        index = (..., *region.within(self.region))
        return replace(self, region=region, arrays={n: self.load(n)[index] for n in names})
