"""Exposures and reference files for single steps, passed to both calbatch and jwst."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import numpy as np
from astropy.io import fits

from calbatch.models.datamodels import RampModel

FIELDS = ("data", "groupdq", "pixeldq")

PERMUTED = {"DO_NOT_USE": 4, "NO_SAT_CHECK": 1, "NO_LIN_CORR": 2, "NO_FLAT_FIELD": 16, "HOT": 8}
"""A reference's own DQ bits, none where the standard ones are."""


@dataclass
class Exposure:
    """A ramp, its flags, and the metadata that steps read."""

    data: np.ndarray
    groupdq: np.ndarray
    pixeldq: np.ndarray
    origin: tuple[int, int] = (1, 1)
    instrument: str = "NIRCAM"
    detector: str = "NRCA1"
    exposure: dict[str, Any] = field(default_factory=dict)

    def ours(self) -> RampModel:
        """Return calbatch's model of the exposure."""
        fields = {n: getattr(self, n) for n in FIELDS}
        return self._describe(RampModel(fields.pop("data"), **fields))

    def theirs(self) -> Any:
        """Return jwst's model of the exposure."""
        from stdatamodels.jwst import datamodels

        return self._describe(datamodels.RampModel(**{n: getattr(self, n).copy() for n in FIELDS}))

    def _describe(self, model: Any) -> Any:
        model.meta.instrument.name = self.instrument
        model.meta.instrument.detector = self.detector
        place = model.meta.subarray
        place.xstart, place.ystart = self.origin
        place.ysize, place.xsize = self.data.shape[-2:]
        facts = {"nframes": 1, "groupgap": 0, "nints": self.data.shape[0]}
        facts |= {"ngroups": self.data.shape[1], "type": "NRC_IMAGE"}
        for name, value in (facts | self.exposure).items():
            setattr(model.meta.exposure, name, value)
        return model


def ramp(
    rng: np.random.Generator,
    *,
    ints: int = 1,
    groups: int = 5,
    shape: tuple[int, int] = (12, 20),
    **described: Any,
) -> Exposure:
    """Draw a raw ramp of faint to saturating, hit, dead, zero, negative and NaN samples."""
    size = (ints, groups, *shape)
    rate = rng.choice([30.0, 3000.0, 9000.0, 20000.0], size=shape, p=[0.7, 0.1, 0.1, 0.1])
    data = rng.normal(12000, 300, shape) + rate * np.arange(1, groups + 1)[:, None, None]
    data = data + rng.normal(0, 15, size)
    data += np.cumsum((rng.random(size) < 0.02) * rng.uniform(0, 60000, size), axis=1)
    data = np.minimum(data, 65535)
    for value, chance in ((0, 0.01), (-3, 0.005), (np.nan, 0.01)):
        data[rng.random(size) < chance] = value
    data[..., rng.random(shape) < 0.02] = 0  # dead
    groupdq = rng.choice([0, 1, 2, 4, 64], size=size, p=[0.92, 0.04, 0.02, 0.01, 0.01])
    return Exposure(data.astype("f4"), groupdq.astype("u1"), flags(rng, shape), **described)


def flags(rng: np.random.Generator, shape: tuple[int, ...], chance: float = 0.1) -> np.ndarray:
    """Draw pixel flags of all bits, most of them zero."""
    return np.where(rng.random(shape) < chance, rng.integers(0, 2**32, shape), 0).astype("u4")


def reference_file(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    *,
    bits: Mapping[str, int] | None = None,
    origin: tuple[int, int] = (1, 1),
    **cards: Any,
) -> Path:
    """Write a reference file: arrays by HDU, its own DQ bits by name, header cards."""
    header = fits.Header({"TELESCOP": "JWST", "INSTRUME": "NIRCAM", **cards})
    rows, columns = next(iter(arrays.values())).shape[-2:]
    place = {"SUBSTRT1": origin[0], "SUBSTRT2": origin[1], "SUBSIZE1": columns, "SUBSIZE2": rows}
    header.update(place)
    hdus = [fits.PrimaryHDU(header=header)]
    hdus += [fits.ImageHDU(array, name=name) for name, array in arrays.items()]
    if bits is not None:
        table = np.array(
            [(int(v).bit_length() - 1, v, n, "") for n, v in bits.items()],
            dtype=[("BIT", "i4"), ("VALUE", "i4"), ("NAME", "S40"), ("DESCRIPTION", "S80")],
        )
        hdus.append(fits.BinTableHDU(table, name="DQ_DEF"))
    fits.HDUList(hdus).writeto(path)
    return path


def jwst_result(step_class: type, model: Any, **parameters: Any) -> Any:
    """Run a jwst step without CRDS, and return its result."""
    return _jwst_step(step_class, parameters).process(model)


def jwst_references(step_class: type, model: Any, **parameters: Any) -> dict[str, str]:
    """Run a jwst step like `jwst_result`; return the files by type that its ``run`` records."""
    step = _jwst_step(step_class, parameters)
    step.process(model)
    return dict(step._reference_files_used)


def _jwst_step(step_class: type, parameters: dict[str, Any]) -> Any:
    step = step_class()
    for name, value in parameters.items():
        setattr(step, name, str(value) if isinstance(value, Path) else value)
    return step


def assert_same(ours: Any, theirs: Any, fields: tuple[str, ...] = FIELDS) -> None:
    """Compare with jwst's model, including NaN and flags."""
    for name in fields:
        found, wanted = np.asarray(getattr(ours, name)), np.asarray(getattr(theirs, name))
        assert found.dtype == wanted.dtype
        # the same operations in the same order and precision: equal to the last bit
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def assert_tiling_is_invisible(step: Any, model: Any, fields: tuple[str, ...] = FIELDS) -> None:
    """Run a step on tiles of several heights and compare bit for bit."""
    rows = model.shape[-2]
    results = []
    for height in (rows, 1, 5):
        with dask.config.set({"calbatch.tile-rows": height}):
            result = step.run(model.copy())
            results.append([np.asarray(getattr(result, name)) for name in fields])
    for other in results[1:]:
        for name, found, wanted in zip(fields, other, results[0], strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=name)
