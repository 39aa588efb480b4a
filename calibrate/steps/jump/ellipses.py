"""Ellipses: the one with the moments of a connected area, and the pixels inside one.

Source: stcal 1.20 ``_sk_filter_areas``, ``ellipse_subim`` and ``point_inside_ellipse``, whose
functions of scikit-image are computed here with the same roundings.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.areas import Areas
from calbatch.models.jit import kernel
from calbatch.models.tiling.tile import Region

Array = npt.NDArray[Any]

_ORDERS = np.arange(4.0)  # as many as in scikit-image: their number affects the rounding
CACHED_PIXELS = 1024
"""Size (pixels) up to which shapes recur, above all the cross of a jump and its neighbours."""


class Shape(NamedTuple):
    """The ellipse with the moments of an area.

    The axes are those of the ellipse minus one pixel, so those of a single pixel are -1.
    """

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


def find_ellipses(areas: Areas, numbers: Iterable[int]) -> list[Ellipse]:
    """Return the ellipses of some areas."""
    ellipses = []
    for i in numbers:
        shape = measure_shape(areas.image(i))
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
    """Measure a shape as scikit-image's ``regionprops``, whose overhead takes most of the time.

    With the central moments m, the products of which are added in the same order as there, its
    tensor of inertia is ``((m02, -m11), (-m11, m20)) / m00``, and its axes are ``4 sqrt(l)`` for
    the eigenvalues l.
    """
    # sums of integers are exact
    rows, cols = (
        (np.arange(float(size)) - place.sum() / place.size)[:, np.newaxis] ** _ORDERS
        for size, place in zip(image.shape, np.nonzero(image), strict=True)
    )
    moments = rows.T @ image.astype(float) @ cols
    size, both = moments[0, 0], moments[2, 0] + moments[0, 2]
    mixed = -moments[1, 1] / size
    tensor = np.array(
        [[(both - moments[2, 0]) / size, mixed], [mixed, (both - moments[0, 2]) / size]]
    )
    minor, major = (4 * math.sqrt(max(value, 0.0)) for value in np.linalg.eigvalsh(tensor))
    return Shape((minor - 1, major - 1), math.degrees(_find_angle(tensor)))


def _find_angle(tensor: Array) -> float:
    """Return the angle from the rows' direction to the major axis of a tensor of inertia."""
    (rows, mixed), (_, cols) = tensor
    if rows == cols:
        return math.pi / 4 if mixed < 0 else -math.pi / 4
    return 0.5 * math.atan2(-2 * mixed, cols - rows)


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
    mask = np.zeros((max(0, shape[0]), max(0, shape[1])), bool)
    if radii[0] != 0 and radii[1] != 0:
        angle = math.radians(ellipse.angle) % math.pi
        _draw(mask, float(row - top), float(col - left), radii, math.sin(angle), math.cos(angle))
    mask.flags.writeable = False
    return Drawing(top, left, mask)


@kernel
def _draw(
    mask: Array, row: float, col: float, radii: tuple[int, int], sine: float, cosine: float
) -> None:
    """Set the pixels inside an ellipse, computed as by scikit-image's ``draw.ellipse``.

    ``((y cos + x sin) / b)**2 + ((y sin - x cos) / a)**2 < 1`` with the distances y and x from the
    centre, and the semi-axes (a, b) of ``radii``. As there, negative ones narrow the rectangle in
    which pixels are set. scikit-image's overhead would take longer than the pixels.
    """
    a, b = radii
    height, width = abs(b * cosine) + a * sine, b * sine + abs(a * cosine)
    top, bottom = math.ceil(row - height), math.floor(row + height)
    left, right = math.ceil(col - width), math.floor(col + width)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            if top <= i <= bottom and left <= j <= right:
                y, x = i - row, j - col
                along, across = (y * cosine + x * sine) / b, (y * sine - x * cosine) / a
                mask[i, j] = along * along + across * across < 1


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


def warm_kernels() -> None:
    """Compile the kernels."""
    draw_ellipse(Ellipse(1.0, 1.0, (2.0, 2.0), 0.0), (3, 3))
