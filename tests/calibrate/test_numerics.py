"""The numerics version is considered whenever the code that decides pixel values changes."""

import pytest
from support.numerics_digest import STORED, code_digest, stored_line

CODE = '''
"""Docstring."""
import numpy as np
from calbatch.models import dq

LIMIT = 3
"""Docstring of a constant."""


def scale(values):
    """Scale."""
    if values is None:
        raise ValueError(f"no {values}: give some")
    log.warning("scaled by %s", LIMIT)
    return values * LIMIT  # comment
'''


def test_the_stored_digest_is_that_of_the_code():
    assert STORED.read_text("ascii") == stored_line(), (
        "Code that decides pixel values has changed. If values change, raise NUMERICS_VERSION in "
        "calibrate/numerics.py. Then run `python tests/support/numerics_digest.py`."
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Docstring."""', '"""Other."""'),
        ('    """Scale."""\n', ""),
        ('"""Docstring of a constant."""', ""),
        ("  # comment", ""),
        ("calbatch.models import", "calbatch.models.elsewhere import"),
        ("give some", "provide some"),
        ("scaled by", "multiplied by"),
        ("\n\n\n", "\n\n"),
    ],
)
def test_words_and_paths_do_not_change_the_digest(old, new):
    assert old in CODE
    assert code_digest(CODE.replace(old, new)) == code_digest(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("LIMIT = 3", "LIMIT = 4"), ("values * LIMIT", "values / LIMIT"), ("is None", "is not None")],
)
def test_arithmetic_changes_the_digest(old, new):
    assert old in CODE
    assert code_digest(CODE.replace(old, new)) != code_digest(CODE)
