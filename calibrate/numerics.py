"""The version of the numerics, which is part of the identity of every product."""

from __future__ import annotations

NUMERICS_VERSION = 1
"""Version of the code that decides pixel values.

Products whose identity has another version are calibrated again. Raise it when the same input,
parameters and references give other values than the last release: science, errors, data quality, or
table rows. Do not raise it for moved files, messages, metadata or speed.

Empty `EARLIER_SOURCES` along with it.

``tests/calibrate/test_numerics.py`` fails when that code changes. After deciding about the version,
renew the stored digest with ``python tests/support/numerics_digest.py``.
"""

EARLIER_RELEASE = "0.1.0.dev0"
EARLIER_SOURCES = ("56b4b48f256bcf5dc952b4ef7864e0e3f0bb95d55603123548c05d4b06fe62d1",)
"""Digests of all sources of `EARLIER_RELEASE` that give the values of this version.

Identities held them before numerics had a version; such products are recognized, too.
"""
