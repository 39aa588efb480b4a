"""The arguments of `calbatch.run` and `calbatch.Batch`: inputs, output folder and options.

These and `calbatch.submit` take their signature, defaults and documentation from these classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, Field, dataclass, field, fields
from functools import wraps
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from calbatch.calibrate.parameters import nearest
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.options import BatchOptions, default_of, describe_fields, option

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
ArgumentsT = TypeVar("ArgumentsT")
ObjectT = TypeVar("ObjectT")
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
        result = Signature.from_callable(function).return_annotation
        signature = Signature(signature_parameters(record), return_annotation=result)

        @wraps(function)
        def call(*positional: P.args, **named: P.kwargs) -> ResultT:
            _require_arguments(signature, positional, named)
            return function(record(*positional, **named))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = insert_fields(function.__doc__, record)
        return call

    return decorate


def accept_in_constructor(
    record: Callable[P, ArgumentsT],
) -> Callable[[Callable[[ObjectT, ArgumentsT], None]], Callable[Concatenate[ObjectT, P], None]]:
    """Return a decorator like `accept_arguments`, for an ``__init__``.

    The class has the docstring, to be completed with `insert_fields`.
    """

    def decorate(
        function: Callable[[ObjectT, ArgumentsT], None],
    ) -> Callable[Concatenate[ObjectT, P], None]:
        signature = Signature(signature_parameters(record))

        @wraps(function)
        def call(self: ObjectT, /, *positional: P.args, **named: P.kwargs) -> None:
            _require_arguments(signature, positional, named)
            function(self, record(*positional, **named))

        own = Parameter("self", Parameter.POSITIONAL_ONLY)
        parameters = [own, *signature.parameters.values()]
        call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return call

    return decorate


def _require_arguments(
    signature: Signature, positional: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Raise TypeError for an option that does not exist, or other wrong arguments."""
    for name in named.keys() - signature.parameters.keys():
        raise TypeError(f"there is no option {name!r}{nearest(name, list(signature.parameters))}")
    signature.bind(*positional, **named)


def insert_fields(text: str | None, record: Any) -> str:
    """Return a docstring in which the word FIELDS is replaced by a record's fields."""
    return (text or "").replace("FIELDS", describe_fields(_in_order(record), "    "))


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
