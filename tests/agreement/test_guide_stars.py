"""The pipeline guider makes the files that jwst's makes, with their tables and headers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from jwst.pipeline import GuiderPipeline as JwstGuider
from support.guide_stars import guide_star, guide_star_references
from support.headers import differences
from support.simulated import offline, small_exposure, without_noise

from calbatch.calibrate.pipelines.guider import GuiderPipeline
from calbatch.calibrate.simulate import PRESETS, read_truth, simulate
from calbatch.models.datamodels import GuiderCalModel

pytestmark = pytest.mark.agreement

NO_SPECTRA = {f"override_{kind}": "N/A" for kind in ("fflat", "sflat", "dflat")}
STEPS = ("dq_init", "guider_cds")
ALLOWED = {
    "DATE": "when the file was written",
    "CALBATCH": "calbatch's version",
    "CAL_VCS": "jwst's own revision",
    "CRDS_VER": "the version of the CRDS client",
    "CRDS_CTX": "every reference is given by its path: no context chose any",
    "CHECKSUM": "jwst writes none",
    "DATASUM": "jwst writes none",
    "NEXTEND": "cards that no schema names are kept",
    "COMMENT": "cards that no schema names are kept",
    "R_FFLAT": "flats of NIRSpec, which are not looked up",
    "R_SFLAT": "flats of NIRSpec, which are not looked up",
    "R_DFLAT": "flats of NIRSpec, which are not looked up",
}


def calibrate_twice(path, references, folder):
    """Run both pipelines, which write all products; return the two folders."""
    folders = folder / "ours", folder / "theirs"
    for cls, output in zip((GuiderPipeline, JwstGuider), folders, strict=True):
        output.mkdir()
        steps = {step: dict(values) for step, values in references.items()}
        for step in STEPS:
            steps[step]["save_results"] = True
        if cls is JwstGuider:
            steps["flat_field"] |= NO_SPECTRA
        with offline(small_exposure("GUIDER1").set), np.errstate(all="ignore"):
            cls.call(str(path), steps=steps, save_results=True, output_dir=str(output))
    return folders


def assert_same_file(ours: Path, theirs: Path):
    """Compare two files: arrays and tables bit for bit, and headers."""
    with fits.open(ours) as found, fits.open(theirs) as wanted:
        names = [[hdu.name for hdu in hdus if hdu.name != "ASDF"] for hdus in (found, wanted)]
        assert names[0] == names[1]
        for name in names[1][1:]:
            # the same operations in the same order and precision
            assert found[name].data.dtype == wanted[name].data.dtype, name
            np.testing.assert_array_equal(found[name].data, wanted[name].data, err_msg=name)
        for hdu, key, mine, other in differences(found, wanted):
            same_file = key.startswith("R_") and other and Path(mine or "").name == Path(other).name
            assert same_file or key in ALLOWED, f"{hdu} {key}: {mine!r}, not {other!r}"


def test_every_product(tmp_path):
    rng = np.random.default_rng(0)
    path = guide_star(tmp_path / "a_uncal.fits", rng, "FGS_TRACK")
    references = guide_star_references(tmp_path, rng)
    ours, theirs = calibrate_twice(path, references, tmp_path)
    names = [f"a_{suffix}.fits" for suffix in ("cal", "dq_init", "guider_cds")]
    for folder in (ours, theirs):
        assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert_same_file(ours / name, theirs / name)


def test_a_flight_exposure(real_data, tmp_path):
    """Reproduce the product that jwst 3.0.0 made of an archived exposure."""
    source = real_data / "fgs_acq1"
    name = "jw01019001001_gs-acq1_2022117003102"
    kinds = {"dq_init": ("mask",), "guider_cds": ("gain", "readnoise"), "flat_field": ("flat",)}
    steps = {
        step: {f"override_{kind}": str(source / f"fgs_{kind}_syn.fits") for kind in names}
        for step, names in kinds.items()
    }
    GuiderPipeline.call(
        source / f"{name}_uncal.fits", steps=steps, save_results=True, output_dir=str(tmp_path)
    )
    assert_same_file(tmp_path / f"{name}_cal.fits", source / f"{name}_cal.fits")


@pytest.mark.parametrize("spec", PRESETS["guide-stars"], ids=lambda spec: spec.exposure_type)
def test_simulated_exposures_have_their_true_rates(tmp_path, spec):
    quiet = without_noise(dark_rate=0.0, nonlinearity=0.0)
    made = simulate(tmp_path, spec=replace(spec, noise=quiet, nints=2), exposures=1)
    truth = read_truth(made.truths[0])
    with offline(made):
        result = GuiderPipeline.call(made.exposures[0], steps={"flat_field": {"skip": True}})
    time = result.meta.exposure.group_time
    # as in jwst, the counts of four groups of fine guiding are divided by the time of one
    groups = 4 if spec.exposure_type == "FGS_FINEGUIDE" else 1
    wanted = np.broadcast_to(truth.rate * groups, result.shape)
    assert truth.rate.max() > 5 * np.median(truth.rate) > 0
    # two reads are rounded to whole counts
    np.testing.assert_allclose(np.asarray(result.data), wanted, rtol=1e-5, atol=1.01 / time)


def test_jwst_reads_the_tables(tmp_path):
    from stdatamodels.jwst import datamodels as jwst_models

    rng = np.random.default_rng(1)
    path = guide_star(tmp_path / "a_uncal.fits", rng, "FGS_TRACK")
    steps = guide_star_references(tmp_path, rng)
    GuiderPipeline.call(path, steps=steps, save_results=True)
    ours = GuiderCalModel(tmp_path / "a_cal.fits")
    with jwst_models.open(tmp_path / "a_cal.fits") as theirs:
        assert type(theirs) is jwst_models.GuiderCalModel
        for name, spec in ours.schema.fields.items():
            if spec.is_table:
                table = getattr(theirs, name)
                assert table.dtype.names == spec.dtype.names
                assert len(table) == len(getattr(ours, name)) == 3
        assert theirs.meta.jitter_max == ours.meta.jitter_max == 1.25
        assert theirs.meta.guide_star_state == ours.meta.guide_star_state == "TRACK"
