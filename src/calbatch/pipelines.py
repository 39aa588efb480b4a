"""Every pipeline as a class, by its name; each is imported when it is first used.

Pipelines of other packages, from the entry points ``calbatch.pipelines``, are found as well.

>>> from calbatch import pipelines
>>> pipelines.detector1(save_calibrated_ramp=True)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calbatch.calibrate.pipelines.dark import DarkPipeline as dark
    from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline as detector1
    from calbatch.calibrate.pipelines.guider import GuiderPipeline as guider
    from calbatch.calibrate.pipelines.simple import SimplePipeline as simple
    from calbatch.calibrate.step import Step

__all__ = ["dark", "detector1", "guider", "simple"]


def __getattr__(name: str) -> "type[Step]":
    """Import the class of a pipeline."""
    from calbatch.calibrate import registry

    if name not in registry.pipelines():
        raise AttributeError(f"there is no pipeline {name!r}; `calbatch pipelines` lists them")
    return registry.find(name)


def __dir__() -> list[str]:
    """Return the names of all pipelines."""
    from calbatch.calibrate import registry

    return sorted(registry.pipelines())
