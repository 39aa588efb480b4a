"""Batch calibration of large telescope exposure sets on dask."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("calbatch")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
