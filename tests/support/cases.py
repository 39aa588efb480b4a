"""Cases of parametrised tests, and of tests of drawn contents."""

import pytest
from hypothesis import HealthCheck, Phase, settings

DRAWN = settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # smaller contents show no more
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""Few cases, since stdatamodels takes seconds for each."""


def long(*values):
    """Return a case that the README's tests leave out, and `.ci/run` includes."""
    return pytest.param(*values, marks=pytest.mark.ci)
