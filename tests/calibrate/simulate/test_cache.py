"""The CRDS cache as the official client reads it."""

import pytest
from astropy.io import fits
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate.cache import PATHS
from calbatch.models.asdf.asdf_blocks import read_arrays

KEYS = PATHS | {
    "INSTRUME": "META.INSTRUMENT.NAME",
    "DATE-OBS": "META.OBSERVATION.DATE",
    "TIME-OBS": "META.OBSERVATION.TIME",
}
TYPES = (
    "mask emicorr saturation superbias ipc refpix sirskernel rscd linearity dark reset gain "
    "readnoise pictureframe flat pastasoss fflat sflat dflat photom area"
)


def ask_crds(simulated, header, kinds):
    """Return the paths of references by kind that crds finds in this cache alone."""
    import crds

    with offline(simulated):
        return crds.getreferences(header, reftypes=kinds, observatory="jwst")


@pytest.mark.parametrize("detector", ["NRCA1", "NIS", "NRS1", "GUIDER1", "MIRIMAGE"])
def test_crds_finds_every_reference_that_jwst_needs(detector):
    exposure = small_exposure(detector, nints=2, ngroups=3)
    header = {path: str(exposure.header.get(key, "UNDEFINED")) for key, path in KEYS.items()}
    answer = ask_crds(exposure.set, header, TYPES.split())
    found = {kind for kind, path in answer.items() if not path.startswith("NOT FOUND n/a")}
    expected = {path.name.split("_")[2] for path in exposure.set.crds.glob("references/jwst/*/*")}
    assert found == expected
    for kind in found - {"sirskernel", "emicorr"}:
        assert fits.getheader(answer[kind])["REFTYPE"] == kind.upper()
    if "sirskernel" in found:
        assert read_arrays(answer["sirskernel"])["meta"]["reftype"] == "sirskernel"


def test_the_newest_reference_wins():
    exposure = small_exposure("NRCA1", ngroups=2)
    header = {path: str(exposure.header.get(key, "UNDEFINED")) for key, path in KEYS.items()}
    earlier = header | {"META.OBSERVATION.DATE": "2014-06-01"}
    answers = [ask_crds(exposure.set, known, ["photom"]) for known in (header, earlier)]
    calibrations = [fits.getdata(answer["photom"])["photmjsr"][0] for answer in answers]
    assert calibrations[1] == pytest.approx(10 * calibrations[0])


def test_rules_files_contain_their_checksum():
    exposure = small_exposure("MIRIMAGE", nints=2, ngroups=3)
    with offline(exposure.set):
        from crds.core import rmap

        context = rmap.load_mapping(exposure.set.context, ignore_checksum=False)
        names = context.mapping_names()
        for name in names:
            rmap.load_mapping(name, ignore_checksum=False)
    assert len(names) == len(list((exposure.set.crds / "mappings" / "jwst").iterdir()))
