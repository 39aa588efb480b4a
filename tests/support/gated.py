"""Steps that make workers wait, use memory or die."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from calbatch.calibrate.parameters import Boolean, Float, Text
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.datamodels import RampModel
from support.waiting import be_slow

SLOW = "support.gated:Slow"
"""Import path of the step `Slow`, for processes that can import this module."""

HUNGRY = "support.gated:Hungry"
DYING = "support.gated:Dying"

WANTED = "WANTED"
"""Variable with the number of bytes that a hungry step wants."""

GATE = "GATE"
"""Variable with the path of the gate, a file without which nothing goes on."""


class Slow(Step):
    """A step that waits until its gate file exists, and changes nothing."""

    def process(self, exposure):
        """Wait at each tile."""
        return RampModel(exposure).map_tiles(_wait, ["data"], path=str(exposure.path))


def _wait(data, *, path):
    while not Path(os.environ[GATE]).exists():
        be_slow(0.02)
    return data


class Hungry(Step):
    """A step that uses some memory for a while, and changes nothing."""

    def process(self, exposure):
        """Use memory at each tile."""
        return RampModel(exposure).map_tiles(_use, ["data"])


def _use(data):
    taken = []
    while sum(map(len, taken)) < int(os.environ[WANTED]):
        taken.append(b"x" * 20_000_000)
        be_slow(0.05)  # give monitors the time to see memory grow
    be_slow(1.0)
    return data


class Dying(Step):
    """A step that kills its worker twice, counted beside its input, and then does nothing."""

    def process(self, exposure):
        """Kill the worker at a tile."""
        return RampModel(exposure).map_tiles(_die, ["data"], path=str(exposure.path))


def _die(data, *, path):
    deaths = Path(os.environ[GATE]).with_name(f"{Path(path).name}.deaths")
    count = len(deaths.read_text()) if deaths.exists() else 0
    if count < 2:
        deaths.write_text("x" * (count + 1))
        os._exit(1)
    return data


ABORTING = "support.gated:Aborting"

FATAL = "FATAL"
"""Variable with a part of the name of the exposure at which an aborting step ends its process."""


class Aborting(Step):
    """A step that ends its process at one exposure, and changes nothing."""

    early = Boolean(False, help="end it before there are tiles")

    def process(self, exposure):
        """End the process at a tile, or at once."""
        name = exposure.path.name
        if self.early:
            _abort(None, name=name)
        return RampModel(exposure).map_tiles(_abort, ["data"], name=name)


def _abort(data, *, name):
    if os.environ[FATAL] in name:
        os.abort()
    return data


BRIEF = "support.gated:Brief"

MOMENT = "MOMENT"
"""The variable that says how many seconds a brief step takes; none if it is not set."""

HOLD = "HOLD"
"""The variable that names a file; while it exists, the exposure that it names waits."""


class Brief(Step):
    """A step that takes a moment, without using the CPU, and changes nothing."""

    def process(self, exposure):
        """Pause at each tile."""
        return RampModel(exposure).map_tiles(_pause, ["data"], name=exposure.path.name)


def _pause(data, *, name):
    be_slow(float(os.environ.get(MOMENT, "0")))
    with suppress(FileNotFoundError):  # it is removed at any time
        while HOLD in os.environ and Path(os.environ[HOLD]).read_text() == name:
            be_slow(0.02)
    return data


HELD = "support.gated:Held"


class Held(Step):
    """A step that adds a level, after waiting for a file if one is named."""

    level = Float(0.0, help="what is added")
    gate = Text("", help="the file without which nothing goes on")

    def process(self, exposure):
        """Wait and add at each tile."""
        return RampModel(exposure).map_tiles(_hold, ["data"], level=self.level, gate=self.gate)


def _hold(data, *, level, gate):
    while gate and not Path(gate).exists():
        be_slow(0.02)
    return data + np.float32(level)


SLOW_SUPERBIAS = "support.gated:SlowSuperbias"


class SlowSuperbias(SuperBiasStep):
    """The correction, after waiting until the gate file exists; meanwhile a file beside it does."""

    def process(self, exposure):
        """Wait, and correct."""
        Path(os.environ[GATE]).with_suffix(".reached").touch()
        _wait(None, path="")
        return super().process(exposure)
