"""The folder in which a page is run: exposures, products and references of the names it uses."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.modeling.models import Polynomial1D

from calbatch import cluster, datamodels
from calbatch.calibrate.simulate import PRESETS, simulate
from calbatch.crds_client.rules.mapping import mapping_checksum
from calbatch.models.jit import kernel_folder
from support.batches import SMALL, copy_changed, quiet_console
from support.doc_blocks import write_files
from support.repository import ROOT

NAME = "jw01234001001_02101_0000{}_nrca1"
CONTEXTS = ("jwst_1490.pmap", "jwst_1581.pmap", "jwst_1600.pmap")
"""The contexts that pages name; they have the same rules."""

WIDE = replace(SMALL, shape=(96, 192), ngroups=6)  # the pixels and groups that pages plot
[GUIDE_STAR] = (spec for spec in PRESETS["guide-stars"] if spec.exposure_type == "FGS_ACQ2")


def make_files(folder: Path) -> None:
    """Simulate exposures and calibrate them, from which each page gets copies."""
    made = simulate(folder / "made", spec=[WIDE, GUIDE_STAR], exposures=3)
    _add_contexts(made.crds)
    (folder / "made" / "models").mkdir()
    write_models(folder / "made" / "models")
    os.environ.update(made.environment())
    how = {"scheduler": "sync", "fsync": False, "console": quiet_console()}
    cluster.run(
        "detector1", made.exposures[:3], folder / "made" / "products", save_steps=["linearity"],
        parameters={"save_calibrated_ramp": True}, **how,
    )  # fmt: skip


def write_models(folder: Path) -> None:
    """Write the files of other kinds that pages open."""
    pixels = np.ones((4, 5), "f4")
    slits = datamodels.MultiSlitModel()
    for number, name in enumerate(("S200A1", "S200A2", "S400A1"), 1):
        slits.slits.add(name=name, source_id=number, data=pixels)
    slits.save(folder / "jw01345001001_01101_00001_nrs1_cal.fits")
    datamodels.SlitModel(slits.slits[0]).save(folder / "slit.fits")
    spectra = datamodels.MultiSpecModel()
    table = np.ones(3, datamodels.SpecModel().schema.fields["spec_table"].dtype)
    spectra.spec.add(name="S200A1", spec_table=table)
    spectra.save(folder / "jw01345001001_01101_00001_nrs1_x1d.fits")
    waves = {"Hz390": {"frequency": 390.625, "phase_amplitudes": np.arange(500.0)}}
    emission = datamodels.EmiModel(frequencies=waves, subarray_cases={"SUB64": {"rowclocks": 28}})
    emission.meta.reftype = "emicorr"
    emission.save(folder / "jwst_miri_emicorr_0003.asdf")
    tilt = {"temperatures": [35.5], "tilt_model": Polynomial1D(1, c0=2.0)}
    disperser = datamodels.DisperserModel(groovedensity=95000.0, gwa_tiltx=tilt)
    disperser.meta.instrument.name = "NIRSPEC"
    disperser.save(folder / "jwst_nirspec_disperser_0065.asdf")


def _add_contexts(cache: Path) -> None:
    """Add contexts with the names that pages use."""
    [first] = (cache / "mappings" / "jwst").glob("*.pmap")
    text = first.read_text()
    for name in CONTEXTS:
        renamed = text.replace(first.name, name)
        renamed = renamed.replace(mapping_checksum(text), mapping_checksum(renamed))
        (first.parent / name).write_text(renamed)


def furnish(folder: Path, server: Path) -> dict[str, str]:
    """Fill the folder of a page; return the variables of its session."""
    made, home = server / "made", folder.parent / "home"
    raw = sorted((made / "exposures").glob("*nrca1_uncal.fits"))
    for name, chosen in {"exposures": raw, "in": raw, "night1": raw[:2], "night2": raw[2:]}.items():
        copy_files(chosen, folder / name)
    copy_files((made / "exposures").glob("*guider*_uncal.fits"), folder / "guide_stars")
    copy_files((made / "products").glob("*_rate.fits"), folder / "rates")
    for kind in ("uncal", "rate", "ramp", "linearity"):
        [first] = made.rglob(f"{NAME.format(1)}_{kind}.fits")
        for name in (first.name, f"exposure_{kind}.fits", f"image_{kind}.fits"):
            shutil.copy(first, folder / name)
    write_raw(raw, folder / "raw")
    copy_files((made / "models").iterdir(), folder)
    shutil.copytree(made / "crds", folder / "shared" / "crds_cache")
    (home / ".config" / "fish" / "completions").mkdir(parents=True)
    (home / "crds_cache").symlink_to(folder / "shared" / "crds_cache")
    references = folder / "shared" / "crds_cache" / "references" / "jwst" / "nircam"
    for name, kind in {"my_flat": "flat", "sky": "flat", "my_bias": "superbias"}.items():
        shutil.copy(references / f"jwst_nircam_{kind}_0001.fits", folder / f"{name}.fits")
    shutil.copy(
        references / "jwst_nircam_dark_0001.fits", references / "jwst_nircam_dark_0402.fits"
    )
    write_files(ROOT / "docs" / "own_steps.md", folder)
    return _variables(folder, home, server)


def write_raw(exposures: list[Path], folder: Path) -> None:
    """Write exposures a, b, ... in order of time, which is not that of their names."""
    folder.mkdir()
    for number, name in enumerate("bca"):
        path = exposures[number]
        copy_changed(path, folder / f"{name}_uncal.fits", EXPSTART=60000.0 + number)


def copy_files(paths, folder: Path) -> None:
    """Copy files into a new folder."""
    folder.mkdir(exist_ok=True)
    for path in paths:
        shutil.copy(path, folder)


def _variables(folder: Path, home: Path, server: Path) -> dict[str, str]:
    cache = folder / "shared" / "crds_cache"
    paths = [server / "bin", Path(sys.executable).parent]
    return {
        "HOME": str(home),
        "CRDS_PATH": str(cache),
        "CRDS_CONTEXT": CONTEXTS[1],
        "CRDS_MODE": "local",
        "CRDS_SERVER_URL": "https://unreachable.invalid",
        "CALBATCH_STATE_DIR": str(home / "state"),
        "NUMBA_CACHE_DIR": str(kernel_folder().parent),
        "PATH": os.pathsep.join([*map(str, paths), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
    }
