"""`calbatch refs`: the arguments and the exit status of each command."""

import inspect

import pytest
from click.testing import CliRunner

from calbatch.cluster.cli.commands import refs as commands
from calbatch.cluster.cli.refs import refs

CALLS = [
    (
        ["bestrefs", "a.fits", "b.fits", "--json"],
        {"inputs": ("a.fits", "b.fits"), "context": None, "as_json": True},
    ),
    (
        ["sync", "a.fits", "--pipeline", "jump", "--instrument", "nircam", "--instrument", "miri"],
        {
            "items": ("a.fits",), "context": None, "files": False, "pipeline": "jump",
            "instruments": ("nircam", "miri"),
        },
    ),
    (
        ["sync", "--context", "jwst_1.pmap"],
        {
            "items": (), "context": "jwst_1.pmap", "files": False, "pipeline": None,
            "instruments": (),
        },
    ),
    (["verify", "--repair"], {"names": (), "repair": True}),
    (["verify", "x.fits"], {"names": ("x.fits",), "repair": False}),
    (
        ["diff", "jwst_1.pmap", "jwst_2.pmap", "a.fits"],
        {"old": "jwst_1.pmap", "new": "jwst_2.pmap", "inputs": ("a.fits",), "as_json": False},
    ),
    (["info", "--json"], {"context": None, "as_json": True}),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), CALLS)
@pytest.mark.parametrize("status", [0, 1])
def test_a_command_is_called_with_its_arguments(monkeypatch, arguments, expected, status):
    called = getattr(commands, arguments[0])
    calls = []

    def record(*given, **named):
        calls.append(dict(inspect.signature(called).bind(*given, **named).arguments))
        return status

    monkeypatch.setattr(commands, arguments[0], record)
    result = CliRunner().invoke(refs, arguments)
    assert result.exit_code == status, result.output
    assert calls == [expected]


@pytest.mark.parametrize("arguments", [["bestrefs"], ["diff", "a.pmap", "b.pmap"], ["vanish"], []])
def test_incomplete_commands_are_errors_of_usage(arguments):
    assert CliRunner().invoke(refs, arguments).exit_code == 2


def test_each_command_is_tested():
    assert {arguments[0] for arguments, _ in CALLS} == set(refs.commands)
