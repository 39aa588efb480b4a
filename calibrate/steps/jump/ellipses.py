"""Ellipses: the one with the moments of a connected area, and the pixels inside one.

Source: stcal 1.20 ``_sk_filter_areas``, ``ellipse_subim`` and ``point_inside_ellipse``, with the
same functions of scikit-image.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.areas import Areas
from calbatch.models.tiling.tile import Region

Array = npt.NDArray[Any]

CACHED_PIXELS = 1024
"""Size (pixels) up to which shapes recur, above all the cross of a jump and its neighbours."""
MIN_RING = 8
"""The smallest number of pixels that enclose another."""


class Shape(NamedTuple):
    """The shape of an area: its pixels with those it encloses, and the ellipse of its moments.

    The axes are those of the ellipse minus one pixel, so those of a single pixel are -1.
    """

    filled: int
    axes: tuple[float, float]  # minor, major; pixels
    angle: float  # degrees


class Ellipse(NamedTuple):
    """An ellipse in the frame.

    Attributes
    ----------
    col, row : float
        Its centre.
    axes : (float, float)
        Its full axes in pixels; the minor one comes first if they were measured from an area.
    angle : float
        The angle from the direction of rows to the major axis, in degrees.
    """

    col: float
    row: float
    axes: tuple[float, float]
    angle: float


class Drawing(NamedTuple):
    """Some pixels of the frame: a mask, and the frame's row and column of its first element."""

    row: int
    col: int
    mask: Array

    def within(self, region: Region) -> tuple[tuple[slice, slice], Array] | None:
        """Return the part that lies in a region: its slices there, and its mask.

        The region must have all columns of the drawing. Return None if it has none of its rows.
        """
        height, width = self.mask.shape
        first, last = max(self.row, region.rows[0]), min(self.row + height, region.rows[1])
        if first >= last or not width:
            return None
        left = self.col - region.cols[0]
        place = slice(first - region.rows[0], last - region.rows[0]), slice(left, left + width)
        return place, self.mask[first - self.row : last - self.row]


def find_ellipses(areas: Areas, numbers: Iterable[int], min_area: float) -> list[Ellipse]:
    """Return the ellipses of those areas whose size, holes included, is at least ``min_area``."""
    ellipses = []
    for i in numbers:
        size = areas.starts[i + 1] - areas.starts[i]
        if size < min_area and size < MIN_RING:
            continue
        shape = measure_shape(areas.image(i))
        if shape.filled >= min_area:
            centre = float(areas.centre_cols[i]), float(areas.centre_rows[i])
            ellipses.append(Ellipse(*centre, shape.axes, shape.angle))
    return ellipses


def measure_shape(image: Array) -> Shape:
    """Return the shape of an area, a boolean image without empty outer rows or columns."""
    if image.size > CACHED_PIXELS:
        return _measure(image)
    return _measure_packed(image.shape, np.packbits(image).tobytes())


@lru_cache(maxsize=4096)
def _measure_packed(shape: tuple[int, int], packed: bytes) -> Shape:
    pixels = np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1])
    return _measure(pixels.reshape(shape))


def _measure(image: Array) -> Shape:
    from skimage.measure import regionprops  # its import takes a second

    (found,) = regionprops(image.astype(np.uint8))
    axes = found.axis_minor_length - 1, found.axis_major_length - 1
    return Shape(int(found.area_filled), axes, float(np.degrees(found.orientation)))


def draw_ellipse(ellipse: Ellipse, frame: tuple[int, int]) -> Drawing:
    """Return the pixels of an ellipse in a frame, given as (rows, columns).

    Centre and semi-axes are first rounded to whole pixels, halves to the even neighbour. An ellipse
    with a semi-axis of 0 has no pixels.
    """
    row, col = round(ellipse.row), round(ellipse.col)
    radii = round(ellipse.axes[0] / 2), round(ellipse.axes[1] / 2)
    reach = max(radii) + 2
    top, left = max(row - reach, 0), max(col - reach, 0)
    shape = min(row + reach + 1, frame[0]) - top, min(col + reach + 1, frame[1]) - left
    draw = _draw_cached if max(shape) ** 2 <= CACHED_PIXELS else _draw
    return Drawing(top, left, draw(shape, (row - top, col - left), radii, ellipse.angle))


def _draw(
    shape: tuple[int, int], centre: tuple[int, int], radii: tuple[int, int], angle: float
) -> Array:
    from skimage.draw import ellipse  # its import takes a second

    mask = np.zeros((max(0, shape[0]), max(0, shape[1])), bool)
    if radii[0] != 0 and radii[1] != 0:
        mask[ellipse(*centre, radii[1], radii[0], mask.shape, np.radians(angle))] = True
    mask.flags.writeable = False
    return mask


_draw_cached = lru_cache(maxsize=4096)(_draw)


def is_any_inside(cols: Array, rows: Array, ellipse: Ellipse) -> bool:
    """Return whether any of the points lies in an ellipse or on its edge.

    ``(u / a)**2 + (v / b)**2 <= 1`` with u and v along the major and minor axes
    """
    angle = np.radians(180 - ellipse.angle)
    x, y = cols - ellipse.col, rows - ellipse.row
    along = x * np.cos(angle) - y * np.sin(angle)
    across = x * np.sin(angle) + y * np.cos(angle)
    major, minor = max(ellipse.axes) * 0.5, min(ellipse.axes) * 0.5
    with np.errstate(divide="ignore", invalid="ignore"):  # an axis can be 0
        return bool(np.any(along**2 / np.float64(major**2) + across**2 / np.float64(minor**2) <= 1))
