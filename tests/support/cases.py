"""Cases of parametrised tests."""

import pytest


def long(*values):
    """Return a case that the README's tests leave out, and `.ci/run` includes."""
    return pytest.param(*values, marks=pytest.mark.ci)
