"""Statistics of a product from its tiles, compared with NumPy on all of its pixels."""

import numpy as np
import pytest

from calbatch.models.statistics.row_samples import TileSampler
from calbatch.models.statistics.tile_summary import summarize_tiles
from calbatch.models.tiling.tile import Region, Tile

SHAPE = (96, 129)  # all rows and pairs are sampled


def summarize(metadata=None, **arrays):
    region = Region((0, SHAPE[0]), (0, SHAPE[1]))
    names = {"data": "data", "errors": "err", "quality": "dq"}
    known = {field: name for field, name in names.items() if name in arrays}
    flags = {"dq": "dq"} if "dq" in arrays else {}
    tile = TileSampler(frame=SHAPE, flags=flags, **known)(Tile(region, region, arrays))
    return summarize_tiles([tile], {"dq": SHAPE[0] * SHAPE[1]} if flags else {}, metadata or {})


def test_level_error_and_noise_are_robust():
    rng = np.random.default_rng(1)
    data = rng.normal(50, 3, SHAPE).astype("f4")
    data[rng.random(SHAPE) < 0.02] = 1e6  # stars
    found = summarize(data=data, err=np.full(SHAPE, 2.5, "f4"))
    assert found.level == pytest.approx(50, abs=0.1)  # the scatter of a median of 12 000 values
    assert found.error == 2.5
    assert found.noise == pytest.approx(3, rel=0.08)  # 4 % of the differences are outliers
    assert found.samples == SHAPE[0] * (SHAPE[1] - 1)


def test_flags_are_counted_in_all_pixels():
    flags = np.zeros(SHAPE, np.uint32)
    flags[:2] = 1
    found = summarize(data=np.ones(SHAPE, "f4"), dq=flags)
    pixels = SHAPE[0] * SHAPE[1]
    assert found.flags == {"dq": {"GOOD": pixels - 2 * SHAPE[1], "DO_NOT_USE": 2 * SHAPE[1]}}
    assert found.values == {"dq": pixels}
    assert found.samples == (SHAPE[0] - 2) * (SHAPE[1] - 1)


def test_a_product_without_usable_pixels_has_no_level():
    found = summarize(data=np.full(SHAPE, np.nan, "f4"))
    assert (found.level, found.noise, found.error, found.quick_look) == (None, None, None, None)
    assert found.samples == 0


def test_metadata_are_kept_if_they_are_numbers():
    metadata = {"a": np.float32(2), "b": None, "c": np.nan, "d": 3, "e": "text"}
    assert summarize(metadata).metadata == {"a": 2.0, "d": 3.0}


def test_without_pixels_there_are_counts_only():
    found = summarize(dq=np.zeros(SHAPE, np.uint32))
    assert found.quick_look is None
    assert found.flags["dq"] == {"GOOD": SHAPE[0] * SHAPE[1]}
