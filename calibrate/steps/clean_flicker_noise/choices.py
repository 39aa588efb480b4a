"""Parameters of 1/f cleaning whose values may be None."""

from typing import Any

from calbatch.calibrate.parameters import Choice, Integer, Items
from calbatch.calibrate.steps.clean_flicker_noise.background import MEDIAN, MODEL, NO_BACKGROUND

MEDIAN_IMAGE = "median_image"


class BackgroundMethod(Choice):
    """A method that finds the background; None stands for ``"None"``."""

    def __init__(self, *, help: str = "") -> None:
        super().__init__(MEDIAN, (MEDIAN, MODEL, MEDIAN_IMAGE, NO_BACKGROUND), help=help)

    def convert(self, value: Any) -> Any:
        """Return the method's name."""
        return super().convert(NO_BACKGROUND if value is None else value)


class BoxSize(Items):
    """Rows and columns of a box; None or an empty list for the default."""

    def __init__(self, *, help: str = "") -> None:
        super().__init__(Integer(1, low=1), help=help)
        self.none = True

    def convert(self, value: Any) -> list[Any]:
        """Return the two numbers, or an empty list."""
        items = super().convert(value) or []
        if len(items) not in (0, 2):
            raise self._fault(value)
        return items

    def _description(self) -> str:
        return "two whole numbers, rows and columns"
