"""Exposures with one oddity each: those that jwst calibrates agree with it, others are rejected.

The files are small simulated exposures, changed as public reports of faults describe.
"""

import numpy as np
import pytest
from astropy.io import fits
from jwst.pipeline import Detector1Pipeline as JwstDetector1
from support.agreement import assert_close
from support.batches import DATE, quiet_console
from support.simulated import forget_crds

from calbatch.cluster import run

ARRAYS = ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE")

CALIBRATED = {
    "good": (),
    "latin1_value": ("bytes that are not ASCII are read as question marks, in TITLE2 of HDU 0",),
    "utf8_comment": ("bytes that are not ASCII are read as question marks, in ANGLE of HDU 0",),
    "utf8_history": ("bytes that are not ASCII are read as question marks, in HISTORY of HDU 0",),
    "utf8_unneeded_extension": (
        "bytes that are not ASCII are read as question marks, in NOTE of HDU 2 (GROUP)",
    ),
    "float32": (),
    "float32_with_dq": (),
    "ngroups_contradicts": ("NGROUPS = 4, but the group count of SCI is 5: calibrating these",),
    "nints_contradicts": ("NINTS = 7, but the integration count of SCI is 3: calibrating these",),
    "groups_cut": ("NGROUPS = 5, but the group count of SCI is 1: calibrating these",),
    "own_reference_pixels": (),
}
REFUSED = {
    "nframes_is_text": "NFRAMES = '1' is text; a whole number is needed",
    "tgroup_is_text": "TGROUP = '0.0494' is text; a number is needed",
    "int_times_narrow": (
        "HDU 3 (INT_TIMES): the TFORM of its 7 columns adds up to 48 bytes, but a row has "
        "NAXIS1 = 52"
    ),
    "int_times_tfields": "TFIELDS = 9223372036854775807 is not between 0 and 999",
}
SAME_PIXELS = [name for name in CALIBRATED if name.startswith(("latin1", "utf8", "ngr", "nints"))]
COMPARED = [
    *("float32_with_dq", "groups_cut", "own_reference_pixels"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("good", "float32")),
]


@pytest.fixture(scope="module")
def reports(real_data):
    folder = real_data / "reports"
    changes = {
        "CRDS_PATH": str(folder / "crds"),
        "CRDS_CONTEXT": "jwst_0001.pmap",
        "CRDS_MODE": "local",
        "CRDS_SERVER_URL": "https://unreachable.invalid",
        "CRDS_READONLY_CACHE": "1",
        "STPIPE_DISABLE_CRDS_STEPPARS": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        forget_crds()
        yield folder / "exposures"
    forget_crds()


@pytest.fixture(scope="module")
def calibrated(reports, tmp_path_factory):
    """Calibrate all of them in one batch; return its result and the folder of products."""
    folder = tmp_path_factory.mktemp("odd")
    result = run(
        "detector1", reports, folder, date=DATE, scheduler="sync", console=quiet_console(),
        fsync=False, save_steps="dq_init",
    )  # fmt: skip
    return result, folder


def outcome_of(calibrated, name):
    (found,) = (o for o in calibrated[0].outcomes if o.path.name == f"{name}_uncal.fits")
    return found


def test_the_tables_list_every_file(reports):
    names = {p.name.removesuffix("_uncal.fits") for p in reports.iterdir()}
    assert names == {*CALIBRATED, *REFUSED}


@pytest.mark.parametrize("name", CALIBRATED)
def test_each_is_calibrated_with_at_most_one_warning(calibrated, name):
    outcome = outcome_of(calibrated, name)
    assert outcome.error == ""
    assert len(outcome.warnings) == len(CALIBRATED[name])
    for warning, wanted in zip(outcome.warnings, CALIBRATED[name], strict=True):
        assert warning.startswith(f"{outcome.path}: {wanted}")


@pytest.mark.parametrize("name", REFUSED)
def test_each_is_rejected_with_file_and_card_named(calibrated, name):
    outcome = outcome_of(calibrated, name)
    assert outcome.error.startswith(f"{outcome.path}: ")
    assert REFUSED[name] in outcome.error
    assert outcome.products == ()


@pytest.mark.parametrize("name", SAME_PIXELS)
def test_header_oddities_do_not_change_pixels(calibrated, name):
    _, folder = calibrated
    for kind in ("rate", "rateints"):
        with (
            fits.open(folder / f"good_{kind}.fits") as wanted,
            fits.open(folder / f"{name}_{kind}.fits") as found,
        ):
            for array in ARRAYS:
                np.testing.assert_array_equal(found[array].data, wanted[array].data)


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore")  # warnings of jwst, stcal and crds
@pytest.mark.parametrize("name", COMPARED)
def test_files_that_jwst_calibrates_agree(reports, calibrated, name):
    _, folder = calibrated
    wanted = JwstDetector1.call(str(reports / f"{name}_uncal.fits"), save_results=False)
    with fits.open(folder / f"{name}_rate.fits") as found:
        noise = np.nan_to_num(wanted.err, nan=np.nanmedian(wanted.err))
        for array in ARRAYS:
            theirs = getattr(wanted, {"SCI": "data"}.get(array, array.lower()))
            error = noise**2 if array.startswith("VAR") else noise
            assert_close(found[array].data, np.asarray(theirs), error, f"{name} {array}")


@pytest.mark.parametrize("name", ["float32", "float32_with_dq", "own_reference_pixels"])
def test_a_ramp_has_each_extension_once(calibrated, name):
    with fits.open(calibrated[1] / f"{name}_dq_init.fits") as found:
        names = [hdu.name for hdu in found]
        assert len(names) == len(set(names))
        assert {"SCI", "PIXELDQ", "GROUPDQ"} <= set(names)
        assert (found["SCI"].data.dtype, found["PIXELDQ"].data.dtype) == (">f4", "uint32")
