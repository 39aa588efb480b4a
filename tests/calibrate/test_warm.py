"""Kernels are compiled once, before workers start, and the compilation is reported."""

import os
import subprocess
import sys

from support.simulated import offline, small_exposure

from calbatch.calibrate import warm
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import CrdsReferences
from calbatch.models import jit
from calbatch.models.datamodels import RampModel

CODE = """
import sys
from pathlib import Path
from calbatch.calibrate import registry, warm
from calbatch.calibrate.references import CrdsReferences
from calbatch.models import datamodels

path = Path(sys.argv[1])
step = registry.find("superbias")()
header = datamodels.open(path).to_flat_dict()
references = CrdsReferences().resolve({0: header}, ["superbias"])[0]
warm.compile_kernels(print, step, path, references)
"""


def test_compilation_is_reported_only_the_first_time(tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    environment = {**os.environ, **exposure.set.environment(), "NUMBA_CACHE_DIR": str(tmp_path)}

    def message_of(path):
        command = [sys.executable, "-c", CODE, str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert message_of(exposure.path) == "compiling kernels: once per machine, it can take a minute"
    assert message_of(exposure.path) == ""


def test_an_invalid_exposure_is_ignored(tmp_path):
    from calbatch.calibrate import registry
    from calbatch.calibrate.references import ResolvedReferences

    (tmp_path / "bad.fits").write_bytes(b"nothing")
    messages = []
    step = registry.find("superbias")()
    warm.compile_kernels(messages.append, step, tmp_path / "bad.fits", ResolvedReferences(""))
    assert messages == []


def test_a_trial_with_noise_of_the_whole_frame_comes_to_its_end():
    exposure = small_exposure("NRCA1", shape=(32, 32), ngroups=4)
    step = Detector1Pipeline()
    step.configure({"clean_flicker_noise": {"skip": False}}, "test")
    with offline(exposure.set):
        done = (
            jit.kernel_folder() / f"compiled-{warm._kernel_digest(step, RampModel(exposure.path))}"
        )
        done.unlink(missing_ok=True)
        warm.compile_kernels(str, step, exposure.path, CrdsReferences())
    assert done.exists()
