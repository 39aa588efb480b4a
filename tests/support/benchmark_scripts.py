"""The scripts of benchmarks/ as modules: those that import none of the others."""

import importlib.util
from types import ModuleType

from support.repository import ROOT


def load_benchmark(name: str) -> ModuleType:
    """Return a script of benchmarks/ as a module that is not in ``sys.modules``."""
    spec = importlib.util.spec_from_file_location(
        f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
