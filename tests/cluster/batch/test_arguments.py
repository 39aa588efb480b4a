"""Functions take their parameters, defaults and documentation from records of arguments."""

import inspect
import subprocess
import sys
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import pytest

import calbatch
from calbatch.cluster.batch.arguments import (
    BatchArguments,
    RunArguments,
    accept_arguments,
    accept_in_constructor,
    insert_fields,
    signature_parameters,
)
from calbatch.cluster.batch.options import option, option_fields


@dataclass(frozen=True)
class Options:
    """Options that others share."""

    _: KW_ONLY
    shared: dict = option({}, "Values by name.")  # noqa: RUF009 - a field


@dataclass(frozen=True)
class Arguments(Options):
    """A positional argument, and an option."""

    first: str = field(metadata={"help": "A name."})
    second: int = option(2, "A number.")
    _: KW_ONLY
    loud: bool = option(False, "Raise the voice.")


@accept_arguments(Arguments)
def describe(arguments: Arguments) -> str:
    """Return the arguments as text.

    Parameters
    ----------
    FIELDS
    """
    return f"{arguments.first} {arguments.second} {arguments.shared} {arguments.loud}"


def test_the_fields_of_a_record_are_the_parameters_of_a_function():
    assert describe("a") == "a 2 {} False"
    assert describe(first="b", second=3, loud=True) == "b 3 {} True"
    assert describe("c", 4, shared={"x": 1}) == "c 4 {'x': 1} False"
    assert describe.__name__ == "describe"


@pytest.mark.parametrize(
    ("positional", "named", "message"),
    [
        (("a",), {"louder": True}, "there is no option 'louder'; did you mean 'loud'"),
        ((), {}, "first"),
        (("a", 1, {}), {}, "positional"),
        (("a",), {"first": "b"}, "first"),
    ],
)
def test_other_arguments_are_a_type_error(positional, named, message):
    with pytest.raises(TypeError, match=message):
        describe(*positional, **named)


class Described:
    """An object of the record's fields."""

    @accept_in_constructor(Arguments)
    def __init__(self, arguments):
        self.arguments = arguments


def test_a_constructor_takes_the_fields_of_a_record():
    assert Described("a", 3, loud=True).arguments == Arguments("a", 3, loud=True)
    assert inspect.signature(Described).parameters == inspect.signature(describe).parameters
    with pytest.raises(TypeError, match="there is no option 'louder'; did you mean 'loud'"):
        Described("a", louder=True)
    with pytest.raises(TypeError, match="first"):
        Described()


def test_the_fields_can_be_inserted_into_any_docstring():
    assert "\n        Raise the voice." in insert_fields("One.\n\n    FIELDS\n    ", Arguments)
    assert insert_fields(None, Arguments) == ""


def test_help_shows_signature_and_meaning():
    assert str(inspect.signature(describe)) == (
        "(first: str, second: int = 2, *, shared: dict = {}, loud: bool = False) -> str"
    )
    documented = inspect.getdoc(describe)
    assert "FIELDS" not in documented
    for text in ("A name.", "A number.", "Values by name.", "Raise the voice."):
        assert f"\n    {text}\n" in f"{documented}\n"


@pytest.mark.parametrize(
    ("function", "record"),
    [
        (calbatch.run, RunArguments),
        (calbatch.submit, BatchArguments),
        (calbatch.Batch, BatchArguments),
    ],
)
def test_batches_take_inputs_output_and_all_options(function, record):
    parameters = inspect.signature(function).parameters
    assert [*parameters.values()] == signature_parameters(record)
    positional = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
    assert positional == ["pipeline", "inputs", "output_dir"]
    assert {each.name for each in option_fields()} < set(parameters)


WRONG_CALLS = """\
import calbatch
calbatch.run("detector1", "a.fits", "out", workers=2, debug=True)
calbatch.run("detector1", "a.fits", worker=2)
calbatch.submit("detector1", "a.fits", workers="two")
calbatch.submit("detector1")
calbatch.Batch("detector1", "a.fits", worker=2)
"""


@pytest.mark.slow
def test_type_checkers_see_the_parameters(tmp_path):
    (tmp_path / "calls.py").write_text(WRONG_CALLS)
    settings = Path(__file__).parents[3] / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", settings, tmp_path / "calls.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line.split(":")[1] for line in errors] == ["3", "4", "5", "6"], done
    kinds = ["call-arg]", "arg-type]", "call-arg]", "call-arg]"]
    assert [line.rpartition("[")[2] for line in errors] == kinds
