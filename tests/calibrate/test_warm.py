"""Kernels are compiled once, before workers start, and the compilation is reported."""

import os
import subprocess
import sys

from support.simulated import small_exposure

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
    from calbatch.calibrate import registry, warm
    from calbatch.calibrate.references import ResolvedReferences

    (tmp_path / "bad.fits").write_bytes(b"nothing")
    messages = []
    step = registry.find("superbias")()
    warm.compile_kernels(messages.append, step, tmp_path / "bad.fits", ResolvedReferences(""))
    assert messages == []
