"""Quick pipelines of three levels, without kernels to compile, and their entry points."""

import json
from contextlib import contextmanager

from calbatch.calibrate import registry
from calbatch.calibrate.parameters import Float
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.datamodels import CubeModel, ImageModel, RampModel
from support.batches import copy_changed

ENTRY_POINTS = """
[calbatch.pipelines]
toy1 = support.toys:Toy1
toy2 = support.toys:Toy2
toy3 = support.toys:Toy3
ordered = support.toys:Ordered
twice = support.toys:Twice
lost = support.toys:Lost
biased = support.toys:Biased
gathered = support.toys:Gathered
trail = support.toys:Trail
rating = support.toys:Rating
"""


def average(data):
    """Return the means of all samples, and of each integration."""
    return data.mean(axis=(0, 1), dtype="f4"), data.mean(axis=1, dtype="f4")


class Toy1(Pipeline):
    """Average the groups of a ramp."""

    suffixes = ("rate", "rateints")

    def process(self, exposure):
        """Return the averages."""
        made = RampModel(exposure).map_tiles_into(
            {"rate": ImageModel, "rateints": CubeModel}, average, ("rate.data", "rateints.data")
        )
        return made["rate"], made["rateints"]


class Biased(Pipeline):
    """Average the groups of a ramp, after subtracting a reference."""

    suffixes = ("rate", "rateints")
    step_defs = {"superbias": SuperBiasStep}

    def process(self, exposure):
        """Return the averages."""
        return Toy1.process(self, self.superbias(exposure))


class Scale(Step):
    """Multiply an image by a number."""

    factor = Float(1.0, help="the number")

    def process(self, exposure):
        """Return the product."""
        result = exposure.copy()
        result.data = exposure.data * self.factor
        return result


class Toy2(Pipeline):
    """Scale a rate, after subtracting the backgrounds of its association."""

    takes = ("rate",)
    suffixes = ("cal",)
    roles = ("science", "background")
    step_defs = {"scale": Scale}

    def process(self, exposure):
        """Return the image."""
        result = ImageModel(exposure)
        for background in self.members.get("background", ()):
            result.data = result.data - background.data
        return self.scale(result)


class Toy3(Pipeline):
    """Add images."""

    takes = ("cal",)
    suffixes = ("i2d",)
    roles = ("science",)
    combines = True

    def process(self, exposure):
        """Return the sum."""
        result = ImageModel(exposure)
        for other in self.members["science"][1:]:
            result.data = result.data + other.data
        return result


class Accumulate(Step):
    """Add twice the state that the exposure before handed on, and hand on the result."""

    groups_by = ("meta.instrument.detector",)
    orders_by = ("meta.exposure.start_time",)
    hands_on = ("memory",)

    def process(self, exposure):
        """Return the sum."""
        result = RampModel(exposure)
        before = self.received_state("memory")
        if before is not None:
            result.data = result.data + 2 * before.data
        self.add_product("memory", result.copy())
        return result


class Count(Accumulate):
    """Hand on a copy, and name the one received."""

    hands_on = ("count",)

    def process(self, exposure):
        """Return the exposure, with the name of the state as that of its target."""
        result = RampModel(exposure)
        before = self.received_state("count")
        result.meta.target.proposer_name = "none" if before is None else before.path.name
        self.add_product("count", result.copy())
        return result


class Forgetful(Accumulate):
    """Hand on the result, which is written only if it is saved."""

    suffixes = ("memory",)

    def process(self, exposure):
        """Return the ramp."""
        return RampModel(exposure)


class Ordered(Pipeline):
    """Accumulate exposures in order of their times."""

    suffixes = ("ramp",)
    step_defs = {"accumulate": Accumulate}

    def process(self, exposure):
        """Return the sum."""
        return self.accumulate(exposure)


class Twice(Pipeline):
    """Hand on two states."""

    suffixes = ("ramp",)
    step_defs = {"accumulate": Accumulate, "count": Count}

    def process(self, exposure):
        """Return the sum."""
        return self.count(self.accumulate(exposure))


class Lost(Pipeline):
    """Hand on the result of a step."""

    suffixes = ("ramp",)
    step_defs = {"forgetful": Forgetful}

    def process(self, exposure):
        """Return the ramp."""
        return self.forgetful(exposure)


class Gathered(Ordered):
    """Take associations of exposures, in order."""

    roles = ("science",)


class Fade(Accumulate):
    """Add twice the image that the exposure before handed on, and hand on the result."""

    hands_on = ("fade",)

    def process(self, exposure):
        """Return the sum."""
        result = ImageModel(exposure)
        before = self.received_state("fade")
        if before is not None:
            result.data = result.data + 2 * before.data
        self.add_product("fade", result.copy())
        return result


class Trail(Pipeline):
    """Accumulate images in order of their times."""

    takes = ("cal",)
    suffixes = ("trail",)
    step_defs = {"fade": Fade}

    def process(self, exposure):
        """Return the sum."""
        return self.fade(exposure)


class Rating(Pipeline):
    """Average the groups of a ramp that the pipeline before has made."""

    takes = ("ramp",)
    suffixes = ("rate", "rateints")
    process = Toy1.process


@contextmanager
def registered_toys(folder, monkeypatch):
    """Register the toy pipelines through entry points of a package in a folder."""
    info = folder / "toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(folder)
    registry.pipelines.cache_clear()
    try:
        yield
    finally:
        registry.pipelines.cache_clear()


def fail_unless_repaired(model):
    """Fail for exposure c: a hook."""
    if model.path.name.startswith("c"):
        raise ValueError("not today")
    return model


def write_association(path, *products, rule="Asn_Lv2Image", **more):
    """Write an association of products, each a name and its members; return its path."""
    entries = [
        {
            "name": name,
            "members": [{"expname": n, "exptype": role} for role, n in members],
        }
        for name, members in products
    ]
    path.write_text(json.dumps({"asn_rule": rule, **more, "products": entries}))
    return path


def write_ordered_association(exposures, folder):
    """Copy exposures in order of time, of which the last is associated with its background."""
    folder.mkdir()
    for number, (name, path) in enumerate(zip("cab", exposures, strict=True)):
        copy_changed(path, folder / f"{name}_uncal.fits", EXPSTART=60000.0 + number)
    members = ("science", "b_rate.fits"), ("background", "a_rate.fits")
    write_association(folder / "p_asn.json", ("p", members))
    return folder
