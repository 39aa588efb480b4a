"""Cleaning up after failed tests, so that no later test in the process fails because of them."""

import gc
import sys
import warnings


def drop_leftovers() -> None:
    """Collect the objects of a failed test, such as open pipes, without warnings.

    pytest keeps the last exception, and with it the variables of the failed test, until another
    test begins. Warnings about these variables would be errors of that test.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            if hasattr(sys, name):
                delattr(sys, name)
        gc.collect()
