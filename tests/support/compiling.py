"""Programs that compile kernels for an exposure, run in processes of their own."""

import os
import subprocess
import sys

PIPELINE = """
import sys
from pathlib import Path
from calbatch.calibrate.compilation import Compilation
from calbatch.calibrate.compilers import Order
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import CrdsReferences
from calbatch.models import datamodels, jit
from calbatch.models.tiling.portable import pack

path = Path(sys.argv[1])
step = Detector1Pipeline()
wanted = ("saturation", "linearity")
step.configure({name: {"skip": name not in wanted} for name in step.steps()}, "test")
header = datamodels.open(path).to_flat_dict()
references = CrdsReferences().resolve({0: header}, step.steps())[0]
"""


def start_python(code, exposure, tmp_path, argument):
    """Start a program with an argument and the references of an exposure."""
    environment = {**os.environ, **exposure.set.environment(), "TMPDIR": str(tmp_path)}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "kernels")
    command = [sys.executable, "-c", code, str(argument)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def run_python(code, exposure, tmp_path):
    """Run a program on an exposure, and return its output."""
    with start_python(code, exposure, tmp_path, exposure.path) as process:
        output = process.communicate()[0]
    assert process.returncode == 0
    return output
