"""A small step, and a pipeline of two of them."""

from calbatch.calibrate.parameters import Float
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import SkipStep, Step


class Offset(Step):
    """Add a constant."""

    cal_step = "flat_field"
    amount = Float(1.0, help="what to add", unit="DN")

    def process(self, image):
        if self.amount == 0:
            raise SkipStep("there is nothing to add")
        image.data = image.data + self.amount
        return image


class Two(Pipeline):
    step_defs = {"first": Offset, "second": Offset}
    defaults = {"second": {"amount": 2.0}}
    suffixes = ("two",)

    def process(self, image):
        return self.second(self.first(image))
