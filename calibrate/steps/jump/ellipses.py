"""Ellipses: the one with the moments of a connected area, and the pixels inside one.

Source: stcal 1.20 ``_sk_filter_areas``, ``ellipse_subim`` and ``point_inside_ellipse``, whose
functions of scikit-image are computed here with the same roundings.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.areas import Areas
from calbatch.models.jit import inner_view_kernel, view_kernel

NEEDED_WITH = ("expand_large_events", "find_showers")
"""Parameters with which the kernels are needed; see `calibrate.warm`."""

Array = npt.NDArray[Any]

_POWERS = 4  # as many as in scikit-image: their number affects the rounding
MARGIN = 2
"""Pixels around the semi-axes of an ellipse in the part of the frame on which stcal draws it."""


class Ellipse(NamedTuple):
    """An ellipse in the frame.

    Attributes
    ----------
    col, row : float
        Its centre.
    axes : (float, float)
        Its full axes in pixels; the minor one comes first if they were measured from an area. Then
        they are those of the ellipse with its moments minus one pixel, so -1 for a single pixel.
    angle : float
        The angle from the direction of rows to the major axis, in degrees.
    """

    col: float
    row: float
    axes: tuple[float, float]
    angle: float


class Outline(NamedTuple):
    """An ellipse as it is drawn: its centre and semi-axes are whole pixels.

    Attributes
    ----------
    row, col : int
        Its centre.
    radii : (int, int)
        Its semi-axes. Without one, it has no pixels.
    sine, cosine : float
        Of the angle from the direction of rows to the second axis.
    """

    row: int
    col: int
    radii: tuple[int, int]
    sine: float
    cosine: float

    @classmethod
    def of(cls, ellipse: Ellipse) -> "Outline":
        """Return the outline of an ellipse; halves are rounded to the even neighbour."""
        angle = math.radians(ellipse.angle) % math.pi
        radii = round(ellipse.axes[0] / 2), round(ellipse.axes[1] / 2)
        return cls(round(ellipse.row), round(ellipse.col), radii, math.sin(angle), math.cos(angle))


class Drawing(NamedTuple):
    """Some pixels of the frame: a mask, and the frame's row and column of its first element."""

    row: int
    col: int
    mask: Array


def find_ellipses(areas: Areas, numbers: Array) -> list[Ellipse]:
    """Return the ellipses with the moments of some areas.

    They are measured as by scikit-image's ``regionprops``, whose overhead takes most of the time.
    With the central moments m, the products of which are added in the same order as there, the
    tensor of inertia is ``((m02, -m11), (-m11, m20)) / m00``, and the axes are ``4 sqrt(l)`` for
    the eigenvalues l.
    """
    moments = _find_moments(areas, numbers)
    size, both = moments[:, 0, 0], moments[:, 2, 0] + moments[:, 0, 2]
    rows, mixed, cols = both - moments[:, 2, 0], -moments[:, 1, 1], both - moments[:, 0, 2]
    tensors = (np.stack([rows, mixed, mixed, cols]) / size).T.reshape(-1, 2, 2)
    axes = 4 * np.sqrt(np.maximum(np.linalg.eigvalsh(tensors), 0.0)) - 1
    centres = areas.centres[::-1, numbers].T
    return [
        Ellipse(col, row, (minor, major), math.degrees(_find_angle(tensor)))
        for (col, row), (minor, major), tensor in zip(
            centres.tolist(), axes.tolist(), tensors.tolist(), strict=True
        )
    ]


def _find_moments(areas: Areas, numbers: Array) -> Array:
    """Return the central moments of some areas, (areas, 4, 4)."""
    sides = areas.sides[:, numbers]
    sizes = areas.sizes[numbers]
    means = (areas.sums[:, numbers] - areas.corners[:, numbers] * sizes) / sizes
    rows, cols = (
        _raise_distances(*side_and_mean) for side_and_mean in zip(sides, means, strict=True)
    )
    pixels = np.empty(int(sides.prod(axis=0).max(initial=0)))
    moments = np.empty((len(numbers), _POWERS, _POWERS))
    y = x = 0
    for k, (number, height, width) in enumerate(
        zip(numbers.tolist(), *sides.tolist(), strict=True)
    ):
        image = pixels[: height * width].reshape(height, width)
        areas.fill_image(number, image)
        moments[k] = rows[y : y + height].T @ image @ cols[x : x + width]
        y, x = y + height, x + width
    return moments


def _raise_distances(lengths: Array, means: Array) -> Array:
    """Return the powers of the distances from a mean of 0, 1, … below each length, one by one.

    The third power is left at 0, because nothing depends on it.
    """
    ends = np.cumsum(lengths)
    numbers = np.arange(float(lengths.sum())) - np.repeat(ends - lengths, lengths)
    distances = numbers - np.repeat(means, lengths)
    powers = np.zeros((numbers.size, _POWERS))
    powers[:, 0], powers[:, 1] = 1.0, distances
    # a product would be rounded otherwise than the power, which scikit-image computes
    powers[:, 2] = np.power(distances, np.full(numbers.size, 2.0))
    return powers


def _find_angle(tensor: list[list[float]]) -> float:
    """Return the angle from the rows' direction to the major axis of a tensor of inertia."""
    (rows, mixed), (_, cols) = tensor
    if rows == cols:
        return math.pi / 4 if mixed < 0 else -math.pi / 4
    return 0.5 * math.atan2(-2 * mixed, cols - rows)


def draw(outline: Outline, frame: tuple[int, int]) -> Drawing:
    """Return the pixels of an ellipse in a frame, given as (rows, columns)."""
    reach = max(outline.radii) + MARGIN
    top, left = max(outline.row - reach, 0), max(outline.col - reach, 0)
    bottom, right = outline.row + reach + 1, outline.col + reach + 1
    shape = min(bottom, frame[0]) - top, min(right, frame[1]) - left
    mask = np.zeros((max(0, shape[0]), max(0, shape[1])), bool)
    if 0 not in outline.radii:
        _draw(outline, top, left, mask)
    mask.flags.writeable = False
    return Drawing(top, left, mask)


@inner_view_kernel
def _find_ends(centre: int, reach: int, extent: float) -> tuple[int, int]:
    """Return the first pixel of an ellipse along one axis of the frame, and the one after the last.

    ``extent`` is the distance of the ends from the centre; stcal draws on a part of the frame.
    """
    origin = max(centre - reach, 0)
    middle = np.float64(centre - origin)
    first, last = math.ceil(middle - extent), math.floor(middle + extent)
    return origin + max(first, 0), min(origin + last, centre + reach) + 1


@inner_view_kernel
def find_rectangle(outline: Outline) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows and the columns of the smallest rectangle around an ellipse.

    As in scikit-image's ``draw.ellipse``, negative semi-axes narrow it.
    """
    a, b = outline.radii
    sine, cosine = outline.sine, outline.cosine
    height, width = abs(b * cosine) + a * sine, b * sine + abs(a * cosine)
    reach = max(a, b) + MARGIN
    return _find_ends(outline.row, reach, height), _find_ends(outline.col, reach, width)


@inner_view_kernel
def fill_row(outline: Outline, row: int, first: int, inside: Array) -> None:
    """Set the pixels of a row, from column ``first`` on, that are inside an ellipse.

    They are those of scikit-image's ``draw.ellipse``, whose overhead would take longer:
    ``((y cos + x sin) / b)**2 + ((y sin - x cos) / a)**2 < 1`` with the distances y and x from the
    centre, and the semi-axes (a, b).
    """
    a, b = outline.radii
    y = np.float64(row - outline.row)
    for k in range(inside.size):
        x = np.float64(first + k - outline.col)
        along = (y * outline.cosine + x * outline.sine) / b
        across = (y * outline.sine - x * outline.cosine) / a
        inside[k] = along * along + across * across < 1


@view_kernel
def _draw(outline: Outline, top: int, left: int, mask: Array) -> None:
    """Set the pixels of an ellipse in a part of the frame that contains it, except at its end."""
    rows, cols = find_rectangle(outline)
    stop = min(cols[1] - left, mask.shape[1])
    for y in range(rows[0] - top, min(rows[1] - top, mask.shape[0])):
        if cols[0] - left < stop:
            fill_row(outline, top + y, cols[0], mask[y, cols[0] - left : stop])


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
    draw(Outline.of(Ellipse(1.0, 1.0, (2.0, 2.0), 0.0)), (3, 3))
