"""Check the subjects of commits: `area: imperative summary`, at most 72 characters.

Usage:
    python .ci/subjects.py FILE       check the message in a file, as the commit-msg hook does
    python .ci/subjects.py --since    check the commits after FIRST, or after CALBATCH_BASE

FIRST is the last commit from before the rule. CALBATCH_BASE, a commit or branch, restricts the
check to the commits of a change that is not yet on its base.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FIRST = "7c9f4e484074f6573226cbade0b8178069313091"
LENGTH = 72
MADE_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")
IMPERATIVES = ("bring", "embed", "exceed", "feed", "need", "seed", "shed", "speed", "string")
"""Verbs that end as participles do."""


def faults(message: str) -> Iterator[str]:
    """Yield the faults of a commit message."""
    subject, _, rest = message.partition("\n")
    if subject.startswith(MADE_BY_GIT):
        return
    form = re.fullmatch(r"(?P<area>[a-z.][\w./-]*): (?P<verb>\S+).*", subject)
    if form is None:
        yield "it does not begin with one area in lower case and a colon: `models: …`"
    else:
        yield from _faults_of_verb(form["verb"])
    if len(subject) > LENGTH:
        yield f"it has {len(subject)} characters; at most {LENGTH} are allowed"
    if subject.endswith("."):
        yield "it ends with a full stop"
    if rest.partition("\n")[0].strip():
        yield "an empty line must separate it from the body"


def _faults_of_verb(verb: str) -> Iterator[str]:
    if verb[0].isupper():
        yield "the summary must begin in lower case"
    elif re.fullmatch(r"\w{2,}(ed|ing)", verb) and verb not in IMPERATIVES:
        yield f"`{verb}` is not an imperative, such as `add`"


def _without_comments(message: str) -> str:
    return "\n".join(line for line in message.splitlines() if not line.startswith("#"))


def _git(*arguments: str) -> str:
    done = subprocess.run(("git", *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _has_commit(commit: str) -> bool:
    """Return whether the history has a commit; a shallow clone may not."""
    command = ("git", "merge-base", "--is-ancestor", commit, "HEAD")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def messages() -> list[str]:
    """Return the messages of the commits since the recorded or the given base."""
    base = os.environ.get("CALBATCH_BASE")
    commits = [f"{base or FIRST}..HEAD"]
    if not base and not _has_commit(FIRST):  # a shallow clone
        print(f"{FIRST} is not in this clone: only the newest commit is checked")
        commits = ["-1", "HEAD"]
    listed = _git("log", "--no-merges", "--format=%B%x00", *commits)
    return [message.strip("\n") for message in listed.split("\0") if message.strip()]


def main() -> int:
    """Check one message or many; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("file", nargs="?", type=Path, help="file with a commit's message")
    group.add_argument("--since", action="store_true", help="check the commits since the base")
    asked = parser.parse_args()
    checked = messages() if asked.since else [_without_comments(asked.file.read_text())]
    found = [(message, fault) for message in checked for fault in faults(message)]
    for message, fault in found:
        print(f"commit subject `{message.partition(chr(10))[0]}`: {fault}", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
