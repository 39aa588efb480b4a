"""Name and write the products of a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.suffixes import product_name, strip_extension
from calbatch.models.storage.location import Location, location

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step
    from calbatch.models.model import DataModel
    from calbatch.models.saving import SaveResult


def product_paths(step: Step, products: Sequence[tuple[str, DataModel]]) -> list[Location]:
    """Return the locations of a step's products.

    Raises
    ------
    StepError
        If two products would share a name, or a product has neither an input file nor a name.
    """
    locations: list[Location] = []
    for suffix, model in products:
        inputs = model.path.parent if model.path else Path()
        folder = location(step.output_dir) if step.output_dir else inputs
        path = folder / _file_name(step, suffix, model)
        if path in locations:
            raise StepError(f"{step.name}: two products would be called {path.name}")
        locations.append(path)
    return locations


def _file_name(step: Step, suffix: str, model: DataModel) -> str:
    """Return the name of a product; without a suffix, it is the one that its step has chosen."""
    if model.path and not suffix:
        return f"{strip_extension(model.path.name)}.fits"
    source = step.output_file or (model.path.name if model.path else model.meta.filename)
    if not source:
        raise StepError(f"{step.name}: set output_file to save a model that has no file")
    return product_name(Path(source).name, suffix)


def save(step: Step, products: Sequence[tuple[str, DataModel]]) -> SaveResult:
    """Write a step's products together."""
    from calbatch.models.saving import save as save_models  # names do not need dask

    pairs = [(m, p) for (_, m), p in zip(products, product_paths(step, products), strict=True)]
    for _, path in pairs:
        if isinstance(path, Path):  # object stores need no folders
            path.parent.mkdir(parents=True, exist_ok=True)
    return save_models(pairs)
