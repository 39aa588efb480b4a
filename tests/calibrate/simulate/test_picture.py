"""The picture of a calibrated exposure beside its truth."""

from types import SimpleNamespace

import numpy as np
from PIL import Image
from support.simulated import small_exposure

from calbatch.calibrate.simulate.picture import draw


def test_a_picture_is_drawn(tmp_path):
    exposure = small_exposure("NIS", shape=(64, 64), ngroups=5)
    truth = exposure.truth
    rate = SimpleNamespace(
        data=truth.rate + 0.1, err=np.ones_like(truth.rate), dq=np.zeros(truth.rate.shape, "u4")
    )
    path = tmp_path / "picture.png"
    draw(path, SimpleNamespace(data=exposure.data), rate, truth)
    with Image.open(path) as picture:
        width, height = picture.size
        assert width > 3 * height
        assert len(picture.convert("RGB").getcolors()) > 30
