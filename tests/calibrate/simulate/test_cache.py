"""The CRDS cache as the official client reads it."""

import json
import os
import subprocess
import sys

import pytest
from astropy.io import fits
from support.simulated import small_exposure

from calbatch.calibrate.simulate.cache import PATHS
from calbatch.models.asdf.asdf_blocks import read_arrays

KEYS = PATHS | {
    "INSTRUME": "META.INSTRUMENT.NAME",
    "DATE-OBS": "META.OBSERVATION.DATE",
    "TIME-OBS": "META.OBSERVATION.TIME",
}
ASK = """
import json, sys, crds
headers, types = json.load(sys.stdin)
answers = [crds.getreferences(h, reftypes=types, observatory="jwst") for h in headers]
print(json.dumps(answers))
"""
CHECK = """
import sys, crds.core.rmap as rmap
context = rmap.load_mapping(sys.argv[1], ignore_checksum=False)
print(len([rmap.load_mapping(name, ignore_checksum=False) for name in context.mapping_names()]))
"""
TYPES = (
    "mask emicorr saturation superbias ipc refpix sirskernel rscd linearity dark reset gain "
    "readnoise pictureframe flat pastasoss fflat sflat dflat photom area"
)


def ask_crds(simulated, program, *arguments, stdin=""):
    """Run a program in a new interpreter that uses only this cache."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CRDS_")}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment | simulated.environment(),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("detector", ["NRCA1", "NIS", "NRS1", "GUIDER1", "MIRIMAGE"])
def test_crds_finds_every_reference_that_jwst_needs(detector):
    exposure = small_exposure(detector, nints=2, ngroups=3)
    header = {path: str(exposure.header.get(key, "UNDEFINED")) for key, path in KEYS.items()}
    [answer] = ask_crds(exposure.set, ASK, stdin=json.dumps([[header], TYPES.split()]))
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
    headers = json.dumps([[header, earlier], ["photom"]])
    now, then = ask_crds(exposure.set, ASK, stdin=headers)
    calibrations = [fits.getdata(answer["photom"])["photmjsr"][0] for answer in (now, then)]
    assert calibrations[1] == pytest.approx(10 * calibrations[0])


def test_rules_files_contain_their_checksum():
    exposure = small_exposure("MIRIMAGE", nints=2, ngroups=3)
    count = ask_crds(exposure.set, CHECK, exposure.set.context)
    assert count == len(list((exposure.set.crds / "mappings" / "jwst").iterdir()))
