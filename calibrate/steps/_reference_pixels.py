"""The part of an exposure's array that lies in its detector's border of reference pixels.

Source: jwst 3.0.0 ``ipc.ipc_corr.get_num_ref_pixels`` and ``refpix.reference_pixels``.
"""

from dataclasses import dataclass, replace

from calbatch.models.tiling.plan import Region

DETECTOR = 2048
"""Rows and columns of a near-infrared detector."""
MIRI_DETECTOR = (1024, 1032)
"""Rows and columns of a MIRI detector."""
BORDER = 4
"""Width in pixels of the border of reference pixels."""


@dataclass(frozen=True)
class Margins:
    """Number of rows and columns of reference pixels at each edge of an array.

    ``bottom`` holds the first file rows, ``left`` the first file columns.
    """

    bottom: int
    top: int
    left: int
    right: int

    def regions(self, shape: tuple[int, int]) -> list[Region]:
        """Return the margins of an array as non-empty regions that do not overlap.

        Bottom and top span whole rows; the sides span the rows between them.
        """
        (low, high), (west, east) = self.interior(shape)
        rows, cols = shape
        margins = [
            Region((0, low), (0, cols)),
            Region((high, rows), (0, cols)),
            Region((low, high), (0, west)),
            Region((low, high), (east, cols)),
        ]
        return [margin for margin in margins if all(margin.shape)]

    def only_rows(self) -> "Margins":
        """Return only the bottom and top margins."""
        return replace(self, left=0, right=0)

    def only_columns(self) -> "Margins":
        """Return only the left and right margins."""
        return replace(self, bottom=0, top=0)

    def interior(self, shape: tuple[int, int]) -> Region:
        """Return the region inside the margins of an array; it may be empty."""
        rows, cols = shape
        low, west = min(self.bottom, rows), min(self.left, cols)
        return Region((low, max(rows - self.top, low)), (west, max(cols - self.right, west)))


def near_infrared_margins(
    shape: tuple[int, int], origin: tuple[int, int], columns: int = 0
) -> Margins:
    """Return the margins of an exposure of a near-infrared detector.

    Parameters
    ----------
    shape : tuple of int
        File rows and columns.
    origin : tuple of int
        Row and column of the first pixel in the full frame, from 0.
    columns : int, optional
        Minimum width of the left and right margins, wherever the array lies.
    """
    inner = DETECTOR - BORDER
    return Margins(
        bottom=max(0, BORDER - origin[0]),
        top=max(0, origin[0] + shape[0] - inner),
        left=max(columns, BORDER - origin[1]),
        right=max(columns, origin[1] + shape[1] - inner),
    )


def miri_margins(shape: tuple[int, int], origin: tuple[int, int]) -> Margins:
    """Return the margins of a MIRI exposure, whose reference pixels are at the sides."""
    right = max(0, origin[1] + shape[1] - (MIRI_DETECTOR[1] - BORDER))
    return Margins(bottom=0, top=0, left=max(0, BORDER - origin[1]), right=right)
