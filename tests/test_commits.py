"""The subjects of commits."""

import subprocess
import sys

import pytest
from support.repository import ROOT


def check_subject(text, tmp_path):
    message = tmp_path / "message"
    message.write_text(text)
    command = [sys.executable, ROOT / ".ci" / "subjects.py", message]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "subject",
    [
        "models: refuse a negative shape",
        "docs: say where products are laid out; mend links\n\nA body.",
        "Merge branch 'topic'",
        "fixup! models: refuse a negative shape",
    ],
)
def test_commit_subjects_name_an_area_and_an_imperative(subject, tmp_path):
    done = check_subject(subject, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("refuse a negative shape", "area"),
        ("cluster, crds: check states", "area"),
        ("Models: refuse a negative shape", "area"),
        ("models: Refuse a negative shape", "lower case"),
        ("models: refused a negative shape", "imperative"),
        ("models: refusing a negative shape", "imperative"),
        ("models: refuse a negative shape.", "full stop"),
        (f"models: refuse {'a' * 72}", "72"),
        ("models: refuse it\nno empty line", "empty line"),
        ("", "area"),
    ],
)
def test_other_commit_subjects_are_refused(subject, reason, tmp_path):
    done = check_subject(subject, tmp_path)
    assert done.returncode == 1
    assert reason in done.stderr
