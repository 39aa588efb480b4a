"""Checks of the parameters that name products, before anything is planned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError


def require_product_names(step: Step) -> None:
    """Refuse parameters that a batch would ignore, or that point outside its output folder.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.

    Raises
    ------
    RequestError
        If there is such a parameter; the message names it and suggests an alternative.
    """
    if step.output_file:
        _require_file_name("output_file", step.output_file, "choose the folder with -o")
    for label, part in _with_parts("", step):
        if part.suffix:
            _require_file_name(f"{label}suffix", part.suffix, "it is the end of products' names")
            if part.suffix.endswith("uncal"):
                raise RequestError(
                    f"{label}suffix = {part.suffix!r}: products must not be named as raw exposures"
                )
        if part is step:
            continue
        if part.output_dir and part.output_dir != step.output_dir:
            raise RequestError(
                f"{label}output_dir = {part.output_dir!r}: all products of a batch go to one "
                "folder: choose it with -o (output_dir of the pipeline itself)"
            )
        if part.output_file:
            raise RequestError(
                f"{label}output_file = {part.output_file!r}: the products of steps are named "
                f"after their exposure: {label}suffix changes how the name ends, output_file of "
                "the pipeline itself the rest of it"
            )


def _with_parts(label: str, step: Step) -> Iterator[tuple[str, Step]]:
    """Yield a step and all steps in it, each with the prefix of its parameters."""
    yield label, step
    for alias, part in step.steps().items():
        yield from _with_parts(f"{label}{alias}.", part)


def _require_file_name(parameter: str, value: str, advice: str) -> None:
    if PurePath(value).name != value or not value.isprintable():
        raise RequestError(
            f"{parameter} = {value!r}: must not have slashes or control characters; {advice}"
        )
