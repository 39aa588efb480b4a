"""Tests of steps that are not supported yet, which can only be skipped.

>>> class TestPictureFrame(LaterStepTests):
...     name = "picture_frame"
"""

from typing import ClassVar

import numpy as np
import pytest
from astropy.io import fits

from calbatch.calibrate import registry
from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.models import datamodels


def ramp():
    rng = np.random.default_rng(5)
    return datamodels.RampModel(rng.normal(size=(1, 3, 4, 5)).astype("f4"))


class LaterStepTests:
    """A skipped step leaves the ramp unchanged; an enabled one is refused before anything runs."""

    name: ClassVar[str]
    keyword: ClassVar[str]

    def test_the_step_is_skipped_with_a_remark_by_default(self, tmp_path):
        result = registry.find(self.name)().run(ramp())
        np.testing.assert_array_equal(result.data, ramp().data)
        assert result[f"meta.cal_step.{self.name}"] == "SKIPPED"
        assert fits.getheader(result.save(tmp_path / "ramp.fits"))[self.keyword] == "SKIPPED"

    def test_the_enabled_step_is_refused_by_name(self):
        with pytest.raises(ParameterError, match=f"{self.name} is not supported yet"):
            registry.find(self.name)(skip=False).run(ramp())

    def test_a_pipeline_refuses_the_step_before_opening_the_exposure(self):
        pipeline = Detector1Pipeline()
        pipeline.configure({self.name: {"skip": False}}, "test")
        with pytest.raises(ParameterError, match=f"{self.name} is not supported yet"):
            pipeline.run("there_is_no_such_file.fits")
