"""Cases of parametrised tests."""

import pytest


def long(*values):
    """Return a case that only the long run includes."""
    return pytest.param(*values, marks=pytest.mark.slow)
