"""Batches hand persistence windows on as jwst does that is run by hand, exposure by exposure."""

import json
import shutil
import tempfile
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from support.batches import DATE, calbatch, checksums, copy_changed, small_set
from support.chaos import kill
from support.detector_steps import jwst_result, ramp
from support.kills import HOOKS, Killed

from calbatch.models.dq import PERSISTENCE, SATURATED

pytestmark = [
    pytest.mark.agreement,
    pytest.mark.filterwarnings("ignore::asdf.exceptions.AsdfWarning"),
]

HOW = {"persistence_time": 400, "dn_threshold": 40000.0}
EXPOSURES = {"c": (0, "NRCA1"), "b": (150, "NRCA2"), "a": (260, "NRCA1"), "d": (500, "NRCA1")}
"""Seconds from the first to each exposure, and its detector, in order of time."""


@pytest.fixture
def inputs(tmp_path):
    """Return a folder of ramps of two detectors, whose names are not in order of time."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (later, detector) in EXPOSURES.items():
        times = {"start_time": 60000.25 + later / 86400, "group_time": 10.0}
        times["integration_time"] = 70.0
        drawn = ramp(rng, ints=2, shape=(14, 11), detector=detector, exposure=times)
        drawn.groupdq[rng.random(drawn.groupdq.shape) < 0.05] |= np.uint8(SATURATED)
        drawn.theirs().save(folder / f"{name}_ramp.fits")
    return folder


@pytest.fixture
def killed(tmp_path, monkeypatch, inputs):
    """Return batches of the ramps whose driver is killed between the products of the second."""
    temporary = Path(tempfile.mkdtemp(prefix="cb"))  # a short path, for sockets
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PYTHONPATH", str(HOOKS), prepend=":")
    config = tmp_path / "persistence.cfg"
    config.write_text("name = persistence\n" + "".join(f"{n} = {v}\n" for n, v in HOW.items()))
    plan = tmp_path / "kills.json"
    plan.write_text(json.dumps([["publish", "after", 3, "self"]]))
    batches = Killed(
        inputs, tmp_path / "out", ("--scheduler", "sync"), plan, temporary, str(config), ()
    )
    for name, value in batches.environment().items():
        monkeypatch.setenv(name, value)
    yield batches
    kill(*batches.processes())
    shutil.rmtree(temporary)


def run_by_hand(inputs, folder):
    """Return jwst's flags of each exposure and the windows after it, (rows, columns)."""
    from jwst.persistence import PersistenceStep
    from stdatamodels.jwst.datamodels import RampModel

    path = folder / "windows.asdf"
    files = {"persistence_array_file": str(path), "save_persistence": str(path)}
    found = {}
    for name, (_, detector) in EXPOSURES.items():
        model = RampModel(inputs / f"{name}_ramp.fits")
        result = jwst_result(PersistenceStep, model, skip=False, **HOW, **files)
        ends = np.zeros((14, 11))
        with asdf.open(path) as windows:
            own = windows[detector]
            ends[own["rows"], own["cols"]] = own["vals"]
        found[name] = np.array(result.groupdq), ends
    return found


@pytest.mark.ci
def test_a_killed_batch_hands_windows_on_as_jwst_run_by_hand(killed, inputs, tmp_path):
    killed.run(200)
    assert len(killed.folders) == 1  # killed, and resumed
    for name, (flags, ends) in run_by_hand(inputs, tmp_path).items():
        out = killed.output
        found = fits.getdata(out / f"{name}_persistence.fits", "GROUPDQ")
        np.testing.assert_array_equal(found, flags)
        np.testing.assert_array_equal(fits.getdata(out / f"{name}_openwindows.fits", "ENDS"), ends)
        first = fits.getdata(out / f"{name}_persistence.fits", "SCI")[0, 0]
        before = (found[0, 0] & (PERSISTENCE | SATURATED) == PERSISTENCE) & ~(first > 40000)
        assert before.any() == (name in "ad")  # flagged for an earlier exposure


def test_detector1_hands_windows_on_as_by_files(tmp_path, monkeypatch):
    """Two exposures in one batch, and one by one with a file of windows."""
    simulated, inputs = small_set(), tmp_path / "in"
    for name, value in simulated.environment().items():
        monkeypatch.setenv(name, value)
    inputs.mkdir()
    for name, start, source in zip("ba", (60000.0, 60000.002), simulated.exposures, strict=False):
        copy_changed(source, inputs / f"{name}_uncal.fits", EXPSTART=start)
    how = ("--scheduler", "sync", "--date", DATE, "--no-fsync", "--persistence.skip=false")
    how += ("--persistence.persistence_time=1000", "--persistence.dn_threshold=100")
    done = calbatch("run", "detector1", inputs, "-o", tmp_path / "out", *how)
    assert done.status == 0, done.err
    path = tmp_path / "windows.asdf"
    files = [f"--persistence.{n}={path}" for n in ("persistence_array_file", "save_persistence")]
    for name in "ba":
        one = inputs / f"{name}_uncal.fits"
        assert calbatch("run", "detector1", one, "-o", tmp_path / "hand", *how, *files).status == 0
    assert checksums(tmp_path / "out") == checksums(tmp_path / "hand")
    before, after = (fits.getdata(tmp_path / "out" / f"{n}_openwindows.fits", "ENDS") for n in "ba")
    assert 0 < np.count_nonzero(before) < np.count_nonzero(after) < after.size
