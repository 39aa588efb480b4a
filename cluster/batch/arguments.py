"""The arguments of `calbatch.run` and `calbatch.submit`: inputs, output folder and options.

Both functions take their signature, defaults and documentation from these classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, Field, dataclass, field, fields
from functools import wraps
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from calbatch.calibrate.parameters import nearest
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.options import BatchOptions, default_of, describe_fields, option

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
ArgumentsT = TypeVar("ArgumentsT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class BatchArguments(BatchOptions):
    """The arguments of a batch: its step, inputs, output folder and options."""

    # `field`, not `option`: type checkers then see that these have no default
    pipeline: str | Path | Step | type[Step] = field(
        metadata={"help": "A name, an import path, a ``.cfg``, or a step or pipeline itself."}
    )
    inputs: str | Path | Sequence[str | Path] = field(
        metadata={"help": "Files, folders and globs."}
    )
    output_dir: str | Path | None = option(  # noqa: RUF009 - a field
        None, "The folder for products; the working folder by default."
    )


@dataclass(frozen=True)
class RunArguments(BatchArguments):
    """The arguments of a batch that is driven in this process."""

    _: KW_ONLY
    console: Console | None = option(  # noqa: RUF009 - a field
        None, "Where progress is shown; by default on standard error, or in the notebook."
    )
    debug: bool = option(False, "Show the tracebacks of failures.")


def accept_arguments(
    record: Callable[P, ArgumentsT],
) -> Callable[[Callable[[ArgumentsT], ResultT]], Callable[P, ResultT]]:
    """Return a decorator that makes a function of a record take the record's fields instead.

    Type checkers and `inspect.signature` see the parameters of the record's constructor. Their
    descriptions replace the word FIELDS in the function's docstring.

    Parameters
    ----------
    record : dataclass
        A class whose fields carry their descriptions in their metadata, as `option` stores them.
    """

    def decorate(function: Callable[[ArgumentsT], ResultT]) -> Callable[P, ResultT]:
        parameters = signature_parameters(record)
        names = [each.name for each in parameters]

        @wraps(function)
        def call(*positional: P.args, **named: P.kwargs) -> ResultT:
            for name in named.keys() - set(names):
                raise TypeError(f"there is no option {name!r}{nearest(name, names)}")
            signature.bind(*positional, **named)
            return function(record(*positional, **named))

        result = Signature.from_callable(function).return_annotation
        signature = Signature(parameters, return_annotation=result)
        call.__signature__ = signature  # type: ignore[attr-defined]
        text = describe_fields(_in_order(record), "    ")
        call.__doc__ = (function.__doc__ or "").replace("FIELDS", text)
        return call

    return decorate


def signature_parameters(record: Any) -> list[Parameter]:
    """Return the fields of a record as parameters of a function's signature."""
    return [
        Parameter(
            each.name,
            Parameter.KEYWORD_ONLY if each.kw_only else Parameter.POSITIONAL_OR_KEYWORD,
            default=default_of(each),
            annotation=each.type,
        )
        for each in _in_order(record)
    ]


def _in_order(record: Any) -> list[Field[Any]]:
    """Return the fields of a record in the order of its constructor's parameters."""
    return sorted(fields(record), key=lambda each: each.kw_only is True)
