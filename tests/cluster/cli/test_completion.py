"""Completion of the command line: in bash, and of everything that it completes."""

import logging
import shlex
import subprocess
import sys
import warnings

import dask
import pytest
from click.shell_completion import BashComplete
from support.batches import calbatch
from support.recorded import record_batch

from calbatch.calibrate.registry import PIPELINES, STEPS, find
from calbatch.cluster.cli.app import cli
from calbatch.cluster.cli.completion import SHELLS
from calbatch.cluster.folder import registry


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Return the only batch of a user."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "registry"))
    return record_batch(tmp_path / "a\x1b", [{}])


def complete(*words):
    """Return the completions of the last word, or the kind of completion left to the shell."""
    *args, incomplete = words
    items = BashComplete(cli, {}, "calbatch", "_CALBATCH_COMPLETE").get_completions(
        args, incomplete
    )
    return [item.value if item.type == "plain" else item.type for item in items]


def test_bash_completes_commands_pipelines_and_batches(batch, tmp_path):
    program = tmp_path / "bin" / "calbatch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m calbatch.cluster "$@"\n')
    program.chmod(0o700)
    (tmp_path / "script").write_text(calbatch("completion", "bash").out)
    body = f"""
        PATH={shlex.quote(str(program.parent))}:$PATH
        . {shlex.quote(str(tmp_path / "script"))}
        press() {{
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _calbatch_completion calbatch
            echo "${{COMPREPLY[*]}}"
        }}
        complete -p calbatch
        press calbatch subm
        press calbatch run detector1,jum
        press calbatch status {batch.name[:8]}
    """
    said = subprocess.run(
        ["bash", "--norc", "-c", body], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    registered, *found = said.stdout.splitlines()
    assert registered.endswith("-F _calbatch_completion calbatch")
    assert found == ["submit", "detector1,jump", batch.name]
    assert said.stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell):
    said = calbatch("completion", shell)
    assert said.status == 0
    assert f"_CALBATCH_COMPLETE={shell}_complete" in said.out


def test_other_shells_are_refused():
    said = calbatch("completion", "tcsh")
    assert (said.status, said.out) == (2, "")


def test_hidden_commands_are_not_offered():
    assert "drive" not in complete("")
    assert {"run", "status", "refs"} <= set(complete(""))


@pytest.mark.parametrize("command", ["run", "plan", "submit", "watch", "params"])
def test_pipelines_and_steps_are_offered(command):
    assert set(complete(command, "")) >= set(PIPELINES) | set(STEPS)
    assert complete(command, "detec") == ["detector1"]
    assert complete(command, "my") == ["file"]  # a .cfg


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["run", "detector1", "--jump.rej"], ["--jump.rejection_threshold"]),
        (["run", "detector1", "a.fits", "--jump.skip", "-o", "out", "--ramp_fit.alg"],
         ["--ramp_fit.algorithm"]),
        (["params", "jump", "--rejection_t"], ["--rejection_threshold"]),
        (["run", "detector1", "--sit"], ["--site"]),
        (["run", "--jump.rej"], []),  # of which pipeline?
        (["run", "detectr1", "--jump.rej"], []),
        (["run", "detector1", "--save-steps", "jump,ram"], ["jump,ramp_fit"]),
        (["run", "detector1", "--grain", "t"], ["tile"]),
        (["run", "detector1", "--scheduler", "th"], ["threads"]),
        (["run", "detector1", "a"], ["file"]),
        (["run", "detector1", "--output", "a"], ["dir"]),
        (["run", "detector1", "--cfg", "a"], ["file"]),
        (["refs", "sync", "a"], ["file"]),
        (["rebuild", "a"], ["dir"]),
    ],
)  # fmt: skip
def test_candidates_for_each_argument(words, offered):
    assert complete(*words) == offered


def test_all_parameters_of_a_pipeline_are_offered():
    pipeline = find("detector1")()
    parameters = {f"--{a}.{name}" for a, s in pipeline.steps().items() for name in s.parameters()}
    offered = complete("run", "detector1", "--")
    assert parameters | {f"--{name}" for name in pipeline.parameters()} <= set(offered)


def test_batches_are_offered_and_otherwise_folders(batch):
    assert complete("cancel", "") == complete("logs", batch.name[:9]) == [batch.name]
    assert complete("resume", "calibrated") == ["dir"]


def test_sites_are_offered():
    with dask.config.set({"calbatch.sites": {"big": {"kind": "slurm"}}}):
        assert complete("submit", "detector1", "--site", "") == ["local", "big"]
    with dask.config.set({"calbatch.sites": {"big": {"kind": "nonsense"}}}):
        assert complete("submit", "detector1", "--site", "") == []


def test_a_registry_that_is_refused_does_not_disturb_the_prompt(batch, capsys):
    registry().chmod(0o777)
    assert complete("status", "2") == ["dir"]
    assert capsys.readouterr() == ("", "")


def test_warnings_do_not_disturb_the_prompt(batch, capsys, monkeypatch):
    def warn():
        warnings.warn("disturbing", stacklevel=1)
        logging.getLogger("calbatch").warning("disturbing")
        return []

    monkeypatch.setattr("calbatch.cluster.folder.find_registered", warn)
    assert complete("status", "2") == ["dir"]
    assert capsys.readouterr() == ("", "")
