"""Statistics of a product: its DQ flags, its noise, and a quick-look.

This module imports no kernels, since reading statistics needs none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from calbatch.models.statistics.quick_look import QuickLook


@dataclass(frozen=True, kw_only=True)
class ProductStatistics:
    """Statistics of a product.

    Attributes
    ----------
    flags : mapping
        For each DQ array, the number of values with each flag, over the whole product.
    values : mapping
        For each DQ array, the number of its values.
    metadata : mapping
        Metadata that were counted over the frame, such as the rate of jumps, by dotted path.
    samples : int
        Number of usable pixels among those sampled.
    level, error : float, optional
        Median of the sampled pixels, and of their errors, in the product's unit.
    noise : float, optional
        Robust standard deviation of a pixel: 1.4826 times the median absolute deviation of the
        differences between horizontal neighbours, divided by √2.
    quick_look : QuickLook, optional
        A small image of the sampled rows.
    """

    flags: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    values: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0
    level: float | None = None
    error: float | None = None
    noise: float | None = None
    quick_look: QuickLook | None = None

    def as_json(self) -> str:
        """Return everything but the levels of the quick-look as JSON."""
        look = self.quick_look
        values = {name: getattr(self, name) for name in _PLAIN}
        if look is not None:
            values["quick_look"] = [look.height, look.width, look.low, look.high]
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: Any, packed: bytes | None) -> Self:
        """Return the statistics from which `as_json` made a text.

        Parameters
        ----------
        text : str
            The text.
        packed : bytes, optional
            The levels of the quick-look, which are not checked.

        Raises
        ------
        ValueError
            If the text is nothing of the kind.
        """
        try:
            values = json.loads(text)
            look = values.get("quick_look")
            return cls(
                flags={str(name): _read_counts(each) for name, each in values["flags"].items()},
                values=_read_counts(values["values"]),
                metadata={str(p): _read_finite(value) for p, value in values["metadata"].items()},
                samples=int(values["samples"]),
                quick_look=None if look is None or packed is None else _read_look(look, packed),
                **{n: None if values[n] is None else _read_finite(values[n]) for n in _MEASURED},
            )
        except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"these are no statistics: {error}") from error


_MEASURED = ("level", "error", "noise")
_PLAIN = ("flags", "values", "metadata", "samples", *_MEASURED)


def _read_counts(values: Any) -> Mapping[str, int]:
    return {str(name): int(_read_finite(value)) for name, value in values.items()}


def _read_look(values: Any, packed: bytes) -> QuickLook:
    height, width = map(int, values[:2])
    low, high = map(_read_finite, values[2:])
    return QuickLook(height=height, width=width, low=low, high=high, packed=packed)


def _read_finite(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)
