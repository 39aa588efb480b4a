"""A step that waits at a gate: batches that are as slow as a test wants."""

import os
import time
from pathlib import Path

from calbatch.calibrate.step import Step
from calbatch.models.datamodels import RampModel

SLOW = "support.gated:Slow"
"""What it is called, where processes can import this module."""

GATE = "GATE"
"""The variable that says where the gate is: a file, without which nothing goes on."""


class Slow(Step):
    """A step that waits until its gate is there, and changes nothing."""

    def process(self, exposure):
        """Wait at each tile."""
        return RampModel(exposure).map_tiles(_wait, ["data"], path=str(exposure.path))


def _wait(data, *, path):
    while not Path(os.environ[GATE]).exists():
        time.sleep(0.02)
    return data
