"""Options that commands share, as click takes them."""

import click
import pytest
from click.testing import CliRunner

from calbatch.cluster.batch.options import DRIVING, POLICY_OPTIONS
from calbatch.cluster.cli.options import (
    BatchCommand,
    add_input_arguments,
    retry_policy,
)
from calbatch.cluster.exposure.policy import RetryPolicy


def command(name="run", *decorators, fault=None):
    """Return a command of some name, and the list of its calls."""
    calls = []

    @click.pass_context
    def calibrate(ctx, /, **options):
        calls.append((options, ctx.obj))
        if fault:
            raise fault

    for decorate in decorators:
        calibrate = decorate(calibrate)
    return click.command(name, cls=BatchCommand)(calibrate), calls


def names(made):
    """Return the names of a command's parameters, in their order."""
    return [parameter.name for parameter in made.params]


def invoke(made, *arguments):
    return CliRunner().invoke(made, arguments)


def test_options_and_parameters_are_told_apart():
    made, calls = command("run", add_input_arguments)
    result = invoke(
        made, "detector1", "a.fits", "--jump.skip", "--workers", "3", "b.fits", "-o", "out"
    )
    assert result.exit_code == 0, result.output
    [(options, parameters)] = calls
    assert (options["pipeline"], options["inputs"]) == ("detector1", ("a.fits", "b.fits"))
    assert (options["workers"], options["output_dir"]) == (3, "out")
    assert parameters == {"jump": {"skip": "True"}}


def test_batch_options_follow_the_arguments_once():
    made, _ = command("run", click.option("--last"), add_input_arguments)
    first = names(made)
    assert first[:3] == ["pipeline", "inputs", "output_dir"]
    assert first[-1] == "last"
    assert len(set(first)) == len(first)
    assert invoke(made, "--help").exit_code == 0
    assert names(made) == first


def test_inputs_are_required():
    made, calls = command("run", add_input_arguments)
    assert invoke(made, "detector1").exit_code == 2
    assert calls == []


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("--workers", "1", "0"),
        ("--workers", "8", "many"),
        ("--grain", "tile", "row"),
        ("--tile-rows", "16", "1.5"),
        ("--silence", "1", "0.5"),
        ("--deadline", "2.5", "soon"),
    ],
)
def test_values_have_the_type_of_their_field(name, good, bad):
    made, calls = command()
    assert invoke(made, name, good).exit_code == 0
    refused = invoke(made, name, bad)
    assert refused.exit_code == 2
    assert bad in refused.output
    assert len(calls) == 1


def test_switches_that_are_on_by_default_can_be_turned_off():
    made, calls = command()
    invoke(made)
    invoke(made, "--no-fsync", "--recursive")
    first, second = (options for options, _ in calls)
    assert (first["fsync"], first["recursive"]) == (True, False)
    assert (second["fsync"], second["recursive"]) == (False, True)


@pytest.mark.parametrize("name", DRIVING)
def test_commands_that_drive_have_the_options_of_the_retry_policy(name):
    made, calls = command(name)
    result = invoke(made, "--deadline", "7", "--fail-fast")
    assert result.exit_code == 0, result.output
    [(options, _)] = calls
    assert retry_policy(options) == RetryPolicy(deadline=7.0, fail_fast=True)
    assert not set(POLICY_OPTIONS) & set(options)


def test_planning_has_no_options_of_the_retry_policy():
    made, _ = command("plan")
    assert "workers" in names(made)
    assert not set(POLICY_OPTIONS) & set(names(made))


def test_a_parameter_that_does_not_exist_may_be_a_misspelt_option():
    fault = ValueError("detector1 has no parameter 'worker'")
    made, _ = command(fault=fault)
    result = invoke(made, "--worker=3")
    assert result.exit_code == 2
    assert "has no parameter 'worker'; or the option --workers?" in result.output


def test_other_errors_pass_unchanged():
    fault = ValueError("no such file")
    made, _ = command(fault=fault)
    assert invoke(made, "--worker=3").exception is fault
