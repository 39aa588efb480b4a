"""The batch service: sites, driver, command line, report.

>>> from calbatch.cluster import run
>>> result = run("detector1", "exposures/", "calibrated/")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calbatch.cluster.batch.python_api import run as run
    from calbatch.cluster.batch.result import Result as Result
    from calbatch.cluster.errors import RequestError as RequestError
    from calbatch.cluster.exposure.outcome import Outcome as Outcome

_PLACES = {
    "run": "batch.python_api",
    "Result": "batch.result",
    "RequestError": "errors",
    "Outcome": "exposure.outcome",
}

__all__ = ["Outcome", "RequestError", "Result", "run"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, which keeps `calbatch --help` fast."""
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
