"""Small exposures in multistripe and superstripe readout, with random counts."""

from typing import Any

import numpy as np

from calbatch.calibrate.frames.stripes import KEYWORDS
from calbatch.models.datamodels import Level1bModel

DHS = {
    "subarray": "SUB164STRIPE4_DHS", "axes": (-1, 2), "start": 1, "size": 164, "nints": 1,
    "numbers": (1, 1526, 40, 85, 1, 1, 0, 0),
}  # fmt: skip
MODES: dict[str, dict[str, Any]] = {
    "multistripe": DHS,
    "multistripe, backwards": DHS | {"axes": (1, -2), "start": 2048},
    "one place": DHS | {"numbers": (1, 971, 40, 0, 1, 0, 0, 0)},
    "without repeats": DHS | {"size": 61, "numbers": (1, 10, 20, 5, 0, 0, 0, 0)},
    "rows": {
        "subarray": "FULL_SUPSTP510", "axes": (1, -2), "start": 2048, "size": 514, "nints": 4,
        "numbers": (4, 0, 510, 0, 1, 1, 510, 4),
    },
    "columns": {
        "subarray": "SUB680STRIPE_SOSS", "axes": (-2, -1), "start": 2048, "size": 684, "nints": 6,
        "numbers": (4, 0, 680, 0, 1, 1, 680, 3),
    },
    "stripes alone": {
        "subarray": "SUB64P_SUPSTP032", "axes": (1, -2), "start": 1878, "size": 32, "nints": 2,
        "numbers": (0, 0, 0, 0, 0, 0, 32, 2),
    },
    "repeated": {
        "subarray": "SUB64P_SUPSTP002", "axes": (1, -2), "start": 2046, "size": 8, "nints": 16,
        "numbers": (1, 165, 1, 0, 1, 0, 1, 16),
    },
}  # fmt: skip
"""Modes of NIRCam and NIRISS, narrow along the fast axis; ``numbers`` are those of `KEYWORDS`."""

FAST = (2037, 12)
"""First pixel along the fast axis, and number of pixels: the last four are reference pixels."""


def raw_model(mode: str, *, ngroups: int = 3, zero_frame: bool = False) -> Level1bModel:
    """Return a raw exposure with random counts."""
    made = MODES[mode]
    rng = np.random.default_rng(1)
    is_transposed = abs(made["axes"][1]) == 1
    start, size = FAST
    shape = (size, made["size"]) if is_transposed else (made["size"], size)
    lead = (made["nints"], ngroups)
    counts = 9000 + np.cumsum(rng.integers(0, 900, (*lead, *shape)), axis=1)
    model = Level1bModel(counts.astype("u2"))
    if zero_frame:
        model.zeroframe = (counts[:, 0] - 50).astype("u2")
    names = ("NIRISS", "NIS") if is_transposed else ("NIRCAM", "NRCB1")
    model.meta.instrument.name, model.meta.instrument.detector = names
    place = model.meta.subarray
    place.name = made["subarray"]
    place.fastaxis, place.slowaxis = made["axes"]
    place.ysize, place.xsize = shape
    place.ystart, place.xstart = (start, made["start"])[:: 1 if is_transposed else -1]
    for name, value in zip(KEYWORDS, made["numbers"], strict=True):
        setattr(place, name, value)
    facts = {"nints": lead[0], "ngroups": ngroups, "nframes": 1, "groupgap": 0, "noutputs": 1}
    for name, value in facts.items():
        setattr(model.meta.exposure, name, value)
    model.meta.exposure.zero_frame = zero_frame
    return model
