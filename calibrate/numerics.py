"""The version of the numerics, which is part of the identity of every product."""

from __future__ import annotations

NUMERICS_VERSION = 1
"""Version of the code that decides pixel values.

Products whose identity has another version are calibrated again. Raise it when the same input,
parameters and references give other values: science, errors, data quality, or table rows. Do not
raise it for moved files, messages, metadata or speed.

``tests/calibrate/test_numerics.py`` fails when that code changes. After deciding about the version,
renew the stored digest with ``python tests/support/numerics_digest.py``.
"""
