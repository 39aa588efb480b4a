"""Statistics as JSON: read as they were written, or refused."""

import numpy as np
import pytest

from calbatch.models.statistics.product_statistics import ProductStatistics
from calbatch.models.statistics.quick_look import QuickLook

FULL = ProductStatistics(
    flags={"dq": {"GOOD": 3, "JUMP_DET": 1}},
    values={"dq": 4},
    metadata={"meta.exposure.primary_cosmic_rays": 0.25},
    samples=4,
    level=1.5,
    noise=0.1,
    quick_look=QuickLook.from_means(np.eye(3)),
)


@pytest.mark.parametrize("statistics", [FULL, ProductStatistics()])
def test_statistics_are_read_as_they_were_written(statistics):
    look = statistics.quick_look
    packed = look.packed if look else None
    assert ProductStatistics.from_json(statistics.as_json(), packed) == statistics


def test_without_its_levels_the_quick_look_is_missing():
    assert ProductStatistics.from_json(FULL.as_json(), None).quick_look is None


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", "null", None, "[" * 100_000),
        FULL.as_json().replace("1.5", "NaN"),
        FULL.as_json().replace("1.5", '"high"'),
        FULL.as_json().replace('"GOOD":3', '"GOOD":1e999'),
        FULL.as_json().replace('"quick_look":[3', '"quick_look":[[]'),
        FULL.as_json().replace('{"dq":4}', "4"),
    ],
)
def test_anything_else_is_an_error(text):
    assert text != FULL.as_json()
    with pytest.raises(ValueError, match=r".+"):
        ProductStatistics.from_json(text, b"")
