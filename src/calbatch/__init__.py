"""Batch calibration of large telescope exposure sets on dask.

=================  =============================================================================
``run``            Calibrate exposures, and show progress.
``Batch``          A batch in the background, to be started, followed and cancelled.
``submit``         Calibrate exposures in the background.
``attach``         Return a batch that has been started elsewhere.
``Result``         The outcome of a batch.
``open``           Open a FITS file as the model of its contents.
``plot``           Plot an array before and after a step, and the difference.
``datamodels``     Data models of exposures and reference files.
``steps``          Every step as a class: ``calbatch.steps.jump``.
``pipelines``      Every pipeline as a class: ``calbatch.pipelines.detector1``.
``Step``           Base class of steps.
``Pipeline``       Base class of pipelines.
=================  =============================================================================

Each name is imported when it is first used.

>>> import calbatch
>>> result = calbatch.run("detector1", "exposures/", "calibrated/")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calbatch import calibrate as calibrate
    from calbatch import cluster as cluster
    from calbatch import crds_client as crds_client
    from calbatch import models as models
    from calbatch import pipelines as pipelines
    from calbatch import steps as steps
    from calbatch.calibrate.pipeline import Pipeline as Pipeline
    from calbatch.calibrate.step import Step as Step
    from calbatch.cluster.batch.handle import Batch as Batch
    from calbatch.cluster.batch.handle import attach as attach
    from calbatch.cluster.batch.handle import submit as submit
    from calbatch.cluster.batch.python_api import run as run
    from calbatch.cluster.batch.result import Result as Result
    from calbatch.models import datamodels as datamodels
    from calbatch.models.datamodels import open as open
    from calbatch.models.plotting.comparison import plot as plot

    __version__: str

_OBJECTS = {
    "Batch": "cluster.batch.handle",
    "Pipeline": "calibrate.pipeline",
    "Result": "cluster.batch.result",
    "Step": "calibrate.step",
    "attach": "cluster.batch.handle",
    "open": "models.datamodels",
    "plot": "models.plotting.comparison",
    "run": "cluster.batch.python_api",
    "submit": "cluster.batch.handle",
}
_MODULES = {
    "calibrate": "calibrate",
    "cluster": "cluster",
    "crds_client": "crds_client",
    "datamodels": "models.datamodels",
    "models": "models",
    "pipelines": "pipelines",
    "steps": "steps",
}

__all__ = [  # without `open`, which would replace the builtin in `from calbatch import *`
    "Batch",
    "Pipeline",
    "Result",
    "Step",
    "attach",
    "datamodels",
    "pipelines",
    "plot",
    "run",
    "steps",
    "submit",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    from importlib import import_module

    if name == "__version__":
        value: Any = _read_version()
    elif name in _OBJECTS:
        value = getattr(import_module(f"{__name__}.{_OBJECTS[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{_MODULES[name]}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return all names, those that have not been used yet included."""
    return sorted({*globals(), *_OBJECTS, *_MODULES, "__version__"})


def _read_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("calbatch")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0.0.0"
