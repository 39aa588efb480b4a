"""Imports and schemas of all workers, prepared in the process from which they are forked."""

from importlib import import_module

from calbatch.cluster.exposure.imports import collecting_later
from calbatch.cluster.exposure.messages import escape_python_messages

with collecting_later():
    from calbatch.models.fits import readers
    from calbatch.models.schema.spec import load_schema

    for name in (
        "distributed.nanny",
        "distributed.worker",
        "calbatch.cluster.sites.dask_site",
        "calbatch.calibrate.pipelines.detector1",
        "calbatch.calibrate.pipelines.simple",
    ):
        import_module(name)

    # of raw exposures, the references that most of them need, ramps and rates
    for name in (
        *("level1b", "ramp", "image", "cube"),
        *("mask", "saturation", "superbias", "linearity", "dark", "gain", "readnoise"),
    ):
        load_schema(name)

    readers.warm_kernels()  # sets numba up; other kernels are loaded from its cache on first use
    escape_python_messages()
