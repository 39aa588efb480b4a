"""Data-quality flags: their names, their bits, and the translation of the bits of references.

The bits are those of jwst's ``dqflags``, so that files can be exchanged. The flags of a group have
8 bits, which suffice for those in `GROUP`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

GOOD = 0
DO_NOT_USE = 1 << 0
SATURATED = 1 << 1
JUMP_DET = 1 << 2
DROPOUT = 1 << 3
OUTLIER = 1 << 4
PERSISTENCE = 1 << 5
AD_FLOOR = 1 << 6
CHARGELOSS = 1 << 7
RESERVED = 1 << 8
NON_SCIENCE = 1 << 9
DEAD = 1 << 10
HOT = 1 << 11
WARM = 1 << 12
LOW_QE = 1 << 13
RC = 1 << 14
TELEGRAPH = 1 << 15
NONLINEAR = 1 << 16
BAD_REF_PIXEL = 1 << 17
NO_FLAT_FIELD = 1 << 18
NO_GAIN_VALUE = 1 << 19
NO_LIN_CORR = 1 << 20
NO_SAT_CHECK = 1 << 21
UNRELIABLE_BIAS = 1 << 22
UNRELIABLE_DARK = 1 << 23
UNRELIABLE_SLOPE = 1 << 24
UNRELIABLE_FLAT = 1 << 25
OPEN = 1 << 26
ADJ_OPEN = 1 << 27
FLUX_ESTIMATED = 1 << 28
MSA_FAILED_OPEN = 1 << 29
OTHER_BAD_PIXEL = 1 << 30
REFERENCE_PIXEL = 1 << 31

#: Flags of a pixel (uint32), by name.
PIXEL: Mapping[str, int] = {
    name: value for name, value in list(globals().items()) if name.isupper()
}

#: Flags of a sample, which is one group of one pixel (uint8), by name.
GROUP: Mapping[str, int] = {
    name: PIXEL[name]
    for name in (
        *("GOOD", "DO_NOT_USE", "SATURATED", "JUMP_DET", "DROPOUT"),
        *("PERSISTENCE", "AD_FLOOR", "CHARGELOSS"),
    )
}


@dataclass(frozen=True)
class DqRemap:
    """Picklable function that translates DQ arrays bit by bit.

    Source: stdatamodels 6 ``dynamic_mask``.

    Parameters
    ----------
    pairs : tuple of (int, int)
        Each pair is a value and a flag: pixels that have any bit of the value get the flag.
    """

    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def from_table(cls, table: npt.NDArray[Any] | None, where: str = "") -> DqRemap | None:
        """Return the translation from the bits of a reference to the standard flags.

        Parameters
        ----------
        table : structured array, optional
            The reference's ``dq_def`` table, with columns VALUE and NAME.
        where : str
            The reference's file, for warnings.

        Returns
        -------
        DqRemap or None
            None if the table is missing or empty, so that the bits are the standard ones. Bits
            whose names are not those of standard flags are dropped, with a logged warning.
        """
        if table is None or table.shape == () or len(table) == 0:
            return None
        pairs = []
        for value, raw in zip(table["VALUE"], table["NAME"], strict=True):
            name = (raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)).strip()
            if name in PIXEL:
                pairs.append((int(value), PIXEL[name]))
            else:
                what = f"DQ_DEF names {name!r}, which is not a standard flag: ignored"
                log.warning("%s", f"{where}: {what}" if where else what)
        return cls(tuple(pairs))

    def inverse(self) -> DqRemap:
        """Return the inverse translation, for writing a reference."""
        return DqRemap(tuple((flag, value) for value, flag in self.pairs))

    def __call__(self, dq: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        """Return the translated flags, in a new array of the same shape."""
        bits = np.asarray(dq).astype(np.uint32, copy=False)
        flags = np.zeros(bits.shape, np.uint32)
        present = int(np.bitwise_or.reduce(bits, axis=None)) if bits.size else 0
        for value, flag in self.pairs:
            if present & value:  # of the many flags in most tables, few occur
                flags[(bits & np.uint32(value)) != 0] |= np.uint32(flag)
        return flags
