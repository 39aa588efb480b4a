"""Escaping of control characters in messages; tests/cluster/test_hostile_names.py has more."""

import logging
import subprocess
import sys

import pytest

from calbatch.cluster.exposure.messages import EscapingFormatter, escape_lines

EVIL = "a\x1b[31m\x07b"
ESCAPED = r"a\x1b[31m\x07b"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("two\nlines", "two\nlines"),
        (f"{EVIL}\n{EVIL}", f"{ESCAPED}\n{ESCAPED}"),
    ],
)
def test_the_lines_of_a_text_are_escaped(text, escaped):
    assert escape_lines(text) == escaped


def test_a_formatter_escapes_the_text_of_another_one():
    record = logging.LogRecord("calbatch", logging.WARNING, "f.py", 1, "%s", (EVIL,), None)
    assert EscapingFormatter().format(record) == ESCAPED
    inner = logging.Formatter("%(levelname)s\n%(message)s")
    assert EscapingFormatter(inner).format(record) == f"WARNING\n{ESCAPED}"


SCRIPT = r"""
import logging, sys, threading, warnings
from calbatch.cluster.exposure.messages import escape_python_messages
from calbatch.models.errors import ValidationWarning
escape_python_messages()
escape_python_messages()
evil = "a\x1b[31m"
warnings.warn(evil)
warnings.warn("about a\x1bfile", ValidationWarning)
logging.getLogger("calbatch").warning(evil)
def fail():
    raise ValueError(evil)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_warnings_log_records_and_tracebacks_are_escaped():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert "\x1b" not in done.stderr
    assert done.stderr.count(r"a\x1b[31m") == 4
    assert "UserWarning" in done.stderr
    assert "\nwarning: about a\\x1bfile\n" in done.stderr


def test_nothing_heavy_is_imported():
    """The command line imports this module at startup."""
    code = (
        "import sys, calbatch.cluster.exposure.messages; "
        "sys.exit(any(m in sys.modules for m in ('numpy', 'dask', 'astropy', 'numba')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
