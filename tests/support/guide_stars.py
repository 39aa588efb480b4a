"""Raw guide-star exposures with the guider's tables, and their references, as files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from calbatch.models.datamodels import GuiderCalModel
from calbatch.models.fits.asdf_extension import asdf_table
from calbatch.models.schema.spec import load_schema
from support.detector_steps import PERMUTED, flags, reference_file

SHAPE = (12, 20)
CORNER = (15, 30)
READS = {
    "FGS_ID-IMAGE": (2, 2),
    "FGS_ID-STACK": (2, 2),
    "FGS_ACQ1": (3, 2),
    "FGS_ACQ2": (2, 2),
    "FGS_TRACK": (4, 2),
    "FGS_FINEGUIDE": (3, 8),
}
"""Numbers of integrations (fewer than in flight) and of groups, by exposure type."""


def guide_star(
    path: Path,
    rng: np.random.Generator,
    kind: str,
    *,
    counts: tuple[int, int] | None = None,
    shape: tuple[int, int] = SHAPE,
    tables: bool = True,
    **cards: Any,
) -> Path:
    """Write a raw exposure: noise, a star, hits of cosmic rays, and tables of random values."""
    ints, groups = counts or READS[kind]
    data = rng.normal(1000, 20, (ints, groups, *shape))
    data += np.linspace(0, 400, groups)[:, None, None] * (rng.random(shape) < 0.2)
    data += np.cumsum((rng.random(data.shape) < 0.05) * rng.uniform(0, 20000, data.shape), axis=1)
    header = fits.Header({"TELESCOP": "JWST", "DATAMODL": "Level1bModel", "INSTRUME": "FGS"})
    header.update({"DETECTOR": "GUIDER2", "EXP_TYPE": kind, "NINTS": ints, "NGROUPS": groups})
    header.update({"TGROUP": 0.364, "SUBSTRT1": CORNER[1], "SUBSTRT2": CORNER[0]})
    header.update({"SUBSIZE1": shape[1], "SUBSIZE2": shape[0]})
    header.update(cards)
    science = fits.ImageHDU(data.astype("u2"), name="SCI")
    science.header["BUNIT"] = "DN"
    hdus = fits.HDUList([fits.PrimaryHDU(header=header), science])
    hdus.extend(_tables(rng) if tables else ())
    hdus.append(fits.BinTableHDU(asdf_table(), name="ASDF"))  # without one, jwst fails
    hdus.writeto(path)
    return path


def _tables(rng: np.random.Generator) -> Iterator[fits.BinTableHDU]:
    schema = load_schema(GuiderCalModel.schema_url)
    for spec in schema.fields.values():
        if spec.is_table:
            rows = np.zeros(3, spec.dtype)
            for name in rows.dtype.names:
                rows[name] = rng.integers(1, 9, 3).astype(rows.dtype[name])
            yield fits.BinTableHDU(rows, name=spec.hdu, header=_header(schema, spec.hdu))


def _header(schema: Any, hdu: str) -> fits.Header:
    cards = [spec for spec in schema.keywords.values() if spec.hdu.upper() == hdu.upper()]
    values: Mapping[str, Any] = {"string": "TRACK", "integer": 7, "number": 1.25}
    return fits.Header({str(spec.keyword): values[str(spec.type)] for spec in cards})


def guide_star_references(
    folder: Path,
    rng: np.random.Generator,
    shape: tuple[int, int] = (40, 60),
    corner: tuple[int, int] = (1, 1),
) -> dict[str, dict[str, str]]:
    """Write references with bad pixels; return the overrides of each step of the pipeline."""
    gain, noise = rng.uniform(1, 3, shape), rng.uniform(5, 20, shape)
    gain[rng.random(shape) < 0.05] = 0
    flat = rng.normal(1, 0.1, shape)
    flat[rng.random(shape) < 0.05] = np.nan
    arrays = {
        "gain": {"SCI": gain},
        "readnoise": {"SCI": noise},
        "mask": {"DQ": flags(rng, shape)},
        "flat": {"SCI": flat, "ERR": rng.uniform(0, 0.1, shape), "DQ": flags(rng, shape)},
    }
    origin = (corner[1], corner[0])
    paths = {}
    for kind, planes in arrays.items():
        single = {n: a.astype("f4" if a.dtype.kind == "f" else a.dtype) for n, a in planes.items()}
        path, bits = folder / f"{kind}.fits", PERMUTED if kind == "mask" else None
        paths[kind] = str(
            reference_file(path, single, bits=bits, origin=origin, INSTRUME="FGS", REFTYPE=kind)
        )
    used = {"dq_init": ("mask",), "guider_cds": ("gain", "readnoise"), "flat_field": ("flat",)}
    return {
        step: {f"override_{kind}": paths[kind] for kind in kinds} for step, kinds in used.items()
    }
