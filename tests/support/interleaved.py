"""IRS2 exposures in memory, as our model and as jwst's, and references with weights for them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from stdatamodels.jwst import datamodels as jwst_models

from calbatch.models.datamodels import RampModel
from calbatch.models.dq import BAD_REF_PIXEL, DO_NOT_USE

ROWS, COLUMNS = 3200, 2048
SAMPLES = 712 * 2048
READ_NOISE = 9.0
"""Scatter of the samples, in counts."""


@dataclass
class InterleavedRamp:
    """An IRS2 ramp in the orientation of its files."""

    data: np.ndarray
    pixeldq: np.ndarray
    detector: str

    def ours(self) -> RampModel:
        """Return calbatch's model of the ramp."""
        return self._describe(RampModel(self.data, pixeldq=self.pixeldq))

    def theirs(self) -> jwst_models.RampModel:
        """Return jwst's model of the ramp."""
        model = jwst_models.RampModel(self.data.copy(), pixeldq=self.pixeldq.copy())
        model.groupdq = np.zeros(self.data.shape, "u1")
        return self._describe(model)

    def _describe(self, model):
        meta, subarray = model.meta, model.meta.subarray
        meta.instrument.name, meta.instrument.detector = "NIRSPEC", self.detector
        meta.exposure.readpatt, meta.exposure.noutputs = "NRSIRS2RAPID", 5
        meta.exposure.nframes, meta.exposure.groupgap = 1, 0
        meta.exposure.nrs_normal, meta.exposure.nrs_reference = 16, 4
        subarray.name = "FULL"
        subarray.xstart = subarray.ystart = 1
        subarray.xsize = subarray.ysize = 2048
        subarray.fastaxis, subarray.slowaxis = (2, 1) if self.detector == "NRS1" else (-2, -1)
        return model


def reference_rows() -> np.ndarray:
    """Return the rows of interleaved reference pixels in all five sections."""
    rows = np.arange(ROWS)
    return rows[(rows % 640 - 8) % 20 < 4]


def interleaved_ramp(
    detector: str = "NRS1", *, nints: int = 1, ngroups: int = 2, seed: int = 0, bad: bool = True
) -> InterleavedRamp:
    """Return a ramp with drift along the detector's rows, light, and bad reference pixels."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((nints, ngroups, ROWS, COLUMNS), dtype="f4") * np.float32(READ_NOISE)
    drift = np.cumsum(rng.normal(0, 1, (nints, ngroups, 1, COLUMNS)), axis=-1)
    data += (1000 + drift + 5 * np.sin(np.arange(ROWS) / 7)[:, None]).astype("f4")
    data += rng.uniform(0, 300, (ROWS, COLUMNS)).astype("f4") * np.arange(ngroups)[:, None, None]
    pixeldq = np.zeros((ROWS, COLUMNS), "u4")
    pixeldq[rng.random(pixeldq.shape) < 0.001] |= DO_NOT_USE
    if bad:
        rows = reference_rows()
        noisy, offset, apart, known = (rng.choice(rows[::4], 2, replace=False) for _ in range(4))
        data[..., noisy, :] *= 3
        data[..., offset + 2, :] += 500
        data[-1, ..., apart + 1, :] += 200
        pixeldq[known, 100] |= BAD_REF_PIXEL
        pixeldq[known + 4 * 5, 7] |= BAD_REF_PIXEL  # five blocks on: neighbours differ
    return InterleavedRamp(data, pixeldq, detector)


def write_weights(
    path: Path,
    *,
    seed: int = 0,
    listed: tuple[tuple[int, int, int], ...] = (),
) -> Path:
    """Write an IRS2 reference with random smooth weights that are not Hermitian."""
    rng = np.random.default_rng(seed)
    frequency = np.minimum(np.arange(SAMPLES), SAMPLES - np.arange(SAMPLES)) / SAMPLES
    table = np.zeros(2 * SAMPLES, [(f"{n}_{k}", "f4") for n in ("alpha", "beta") for k in range(4)])
    for name in table.dtype.names:
        values = rng.uniform(0.3, 0.9) / (1 + (frequency / 0.01) ** 2)
        values = values + rng.normal(0, 0.05, SAMPLES) + 1j * rng.normal(0, 0.05, SAMPLES)
        table[name][0::2], table[name][1::2] = values.real, values.imag
    bad = np.array(list(listed), [("OUTPUT", "u2"), ("ODD_EVEN", "u2"), ("MASK", "u4")])
    primary = fits.PrimaryHDU()
    primary.header["REFTYPE"], primary.header["TELESCOP"] = "REFPIX", "JWST"
    primary.header["INSTRUME"] = "NIRSPEC"
    hdus = [primary, fits.BinTableHDU(table, name="IRS2"), fits.BinTableHDU(bad, name="DQ")]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path
