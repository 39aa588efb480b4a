"""Slurm's commands and the checks of their arguments; nothing here needs a Slurm."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.slurm import commands
from calbatch.cluster.sites.slurm.commands import (
    REPLACEABLE,
    RESERVED,
    SKIPPABLE,
    check_directive,
    check_name,
    check_text,
    drop_arguments,
    error_line,
    is_sent,
    job_environment,
    job_script,
    log_pattern,
    placement_arguments,
    run_slurm,
    walltime_seconds,
)

# -- time limits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("1:30", 90),
        ("2:00:00", 7200),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-12:30:05", 131405),
        ("0", 0),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(text, seconds):
    assert walltime_seconds(text) == seconds


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_full_time_limit_is_the_sum_of_its_parts(days, hours, minutes, seconds):
    text = f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
    assert walltime_seconds(text) == 86400 * days + 3600 * hours + 60 * minutes + seconds


@given(st.text("0123456789:- a²", max_size=8))
def test_other_time_limits_are_rejected(text):
    numbers = text.replace("-", ":").split(":")
    valid = all(n.isascii() and n.isdigit() for n in numbers) and text.count("-") <= 1
    if valid and text.count(":") <= 2 and ("-" not in text or ":" not in text.split("-")[0]):
        assert walltime_seconds(text) >= 0
    else:
        with pytest.raises(RequestError, match="must be like 30"):
            walltime_seconds(text)


# -- directives --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["--exclusive", "--constraint=a b", "--mem=0", "--mem-per-cpu=2G"])
def test_directives_of_the_user_are_accepted(text):
    assert check_directive(text) == text


@pytest.mark.parametrize("name", RESERVED)
def test_no_directive_sets_an_option_that_jobs_depend_on(name):
    with pytest.raises(RequestError, match=f"--{name} is set by calbatch"):
        check_directive(f"--{name}=x")


@given(st.sampled_from(RESERVED), st.data())
def test_an_abbreviation_of_such_an_option_is_rejected_as_well(name, data):
    part = name[: data.draw(st.integers(2, len(name)))].rstrip("-")
    with pytest.raises(RequestError, match=r"is set by calbatch|in full"):
        check_directive(f"--{part}=x")


@pytest.mark.parametrize(
    ("text", "whole"), [("--me=1", "mem"), ("--cpus=2", "cpus-per-task"), ("--nt=2", "ntasks")]
)
def test_replaceable_options_are_written_in_full(text, whole):
    with pytest.raises(RequestError, match=f"write --{whole} in full"):
        check_directive(text)


@pytest.mark.parametrize("text", ["exclusive", "-x", "--", "--Mem=1", "--mem=", "--a b", "", "--9"])
def test_anything_else_is_no_directive(text):
    with pytest.raises(RequestError, match="must be like --NAME or --NAME=VALUE"):
        check_directive(text)


@given(st.characters(max_codepoint=0x1F) | st.sampled_from("\x7f\x85\u2028\u2029"))
def test_control_characters_are_rejected_everywhere(character):
    text = f"--comment=a{character}b"
    for check in (lambda: check_directive(text), lambda: check_text("log", text)):
        with pytest.raises(RequestError, match="line breaks or control characters"):
            check()


@pytest.mark.parametrize(("value", "good"), [
    ("gpu", True), ("a.b_c-d@e:f+g,h", True), ("0", True),
    ("", False), ("-x", False), ("a b", False), ("a;b", False), ("a\n", False), ("é", False),
])  # fmt: skip
def test_partitions_and_accounts_are_plain_names(value, good):
    if good:
        assert check_name("partition", value) == value
    else:
        with pytest.raises(RequestError, match=r"partition .*must be a name"):
            check_name("partition", value)


# -- options that are left out -----------------------------------------------------------------

ARGUMENTS = ["--parsable", "--mem=4M", "--cpus-per-task=2", "--time=30"]


def test_skipped_options_are_left_out():
    assert drop_arguments(ARGUMENTS, ["mem", "--time"], []) == ["--parsable", "--cpus-per-task=2"]


def test_a_directive_replaces_the_option_of_its_name():
    found = drop_arguments(ARGUMENTS, [], ["--mem=8M", "--time-min=3"])
    assert found == ["--parsable", "--cpus-per-task=2", "--time=30"]


@pytest.mark.parametrize("directive", ["--mem-per-cpu=2G", "--mem-per-gpu=2G"])
def test_memory_per_core_or_gpu_excludes_memory_per_job(directive):
    assert "--mem=4M" not in drop_arguments(ARGUMENTS, [], [directive])
    assert not is_sent("mem", [], [directive])
    assert is_sent("mem", [], [])


@given(st.sampled_from(SKIPPABLE), st.sampled_from(SKIPPABLE))
def test_an_option_is_sent_unless_it_is_skipped(name, skipped):
    assert is_sent(name, [skipped], []) == (name != skipped)


@pytest.mark.parametrize("name", ["parsable", "output", "wrap", "nonsense"])
def test_options_that_jobs_depend_on_cannot_be_skipped(name):
    with pytest.raises(
        RequestError, match=f"skip '{name}': cannot be left out; these can be: cpus"
    ):
        drop_arguments(ARGUMENTS, [name], [])


def test_replaceable_options_can_be_skipped():
    assert set(REPLACEABLE) <= set(SKIPPABLE)


# -- arguments and scripts ---------------------------------------------------------------------


def test_placement_arguments_are_those_that_are_given():
    found = placement_arguments(
        partition="long", account=None, walltime="1:00:00", more=["--exclusive"]
    )
    assert found == ["--partition=long", "--time=1:00:00", "--exclusive"]
    nothing = placement_arguments(partition=None, account="me", walltime="0", more=[])
    assert nothing == ["--account=me"]  # Slurm reads 0 as no limit


@pytest.mark.parametrize("wrong", [
    {"partition": "a b"}, {"account": "$(x)"}, {"walltime": "soon"}, {"more": ["--wrap=x"]},
])  # fmt: skip
def test_wrong_placement_arguments_are_rejected(wrong):
    given_ = {"partition": None, "account": None, "walltime": None, "more": []} | wrong
    with pytest.raises(RequestError):
        placement_arguments(**given_)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_a_script_runs_exactly_the_command(command):
    *before, line = job_script(command, ["export A=1"]).split("exec ", 1)
    assert before == ["#!/bin/sh\nexport A=1\n"]
    assert shlex.split(line) == command


def test_a_script_is_one_that_a_shell_runs(tmp_path):
    awkward = "a 'b' $HOME `x` \"\\ \n*"
    script = job_script(["printf", "%s|", awkward, "$A"], ["A=3"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{awkward}|$A|"


def test_a_command_with_a_nul_character_is_rejected():
    with pytest.raises(RequestError, match="NUL"):
        job_script(["a\0b"])


def test_percent_signs_in_a_logs_folder_are_no_placeholders():
    assert log_pattern(Path("/a%j/b"), "worker-%j.log") == "/a%%j/b/worker-%j.log"
    assert log_pattern(Path("/a/log")) == "/a/log"


@pytest.mark.parametrize("folder", ["/a\\b", "/a\nb"])
def test_folders_that_slurm_misreads_are_rejected(folder):
    with pytest.raises(RequestError, match=r"backslash|line breaks"):
        log_pattern(Path(folder), "%j")


# -- running commands --------------------------------------------------------------------------


def test_variables_of_an_enclosing_job_are_not_passed_on(monkeypatch):
    for name in ("SLURM_JOB_ID", "SBATCH_EXPORT", "SLURMD_X", "SRUN_Y", "SLURM_CONF", "OTHER"):
        monkeypatch.setenv(name, "1")
    found = job_environment({"MORE": "2", "OTHER": "3"})
    assert found.keys() & {"SLURM_JOB_ID", "SBATCH_EXPORT", "SLURMD_X", "SRUN_Y"} == set()
    assert (found["SLURM_CONF"], found["OTHER"], found["MORE"]) == ("1", "3", "2")


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("sbatch: error: no such partition\n", "no such partition"),
        ("sbatch: error: a\nsbatch: error: a\nsbatch: fatal: b\n", "a; b"),
        ("squeue: slow\nnoise\n", "slow"),
        ("something\n  else\n", "something else"),
    ],
)
def test_error_messages_are_taken_out_of_the_output(output, line):
    assert error_line(output) == line


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that puts a shell script on the path."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def make(name, body):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    return make


def test_the_output_of_a_command_is_returned(program, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    program("squeue", 'echo "$1 $A ${SLURM_JOB_ID:-none}"; echo')
    assert run_slurm("squeue", "--me", variables={"A": "x"}) == "--me x none"


def test_a_command_that_fails_is_an_error_with_its_words(program):
    program("sbatch", 'echo "sbatch: error: Invalid account" >&2; exit 3')
    with pytest.raises(RequestError, match=r"^sbatch: Invalid account$"):
        run_slurm("sbatch")


def test_a_missing_command_means_that_there_is_no_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="sbatch is not installed: Slurm is needed here"):
        run_slurm("sbatch")


def test_a_controller_that_does_not_answer_is_an_error(program, monkeypatch):
    monkeypatch.setattr(commands, "ANSWER", 0.05)
    program("squeue", "exec sleep 60")
    with pytest.raises(RequestError, match="squeue does not answer"):
        run_slurm("squeue")
