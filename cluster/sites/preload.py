"""What workers need, imported once: by the process that they are forked from."""

import gc
from importlib import import_module

from calbatch.cluster.exposure.messages import escape_python_messages
from calbatch.models.fits import readers

for name in (
    "distributed.nanny",
    "distributed.worker",
    "calbatch.cluster.sites.dask_site",
    "calbatch.calibrate.pipelines.detector1",
    "calbatch.calibrate.pipelines.simple",
):
    import_module(name)

readers.warm_kernels()  # sets numba up; the other kernels come from its cache where they are used
escape_python_messages()
gc.collect()
gc.freeze()  # what is here stays, and shared
