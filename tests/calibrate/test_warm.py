"""Kernels are compiled once, before workers start, and the compilation is reported."""

import os
import re
import subprocess
import sys
import threading

import numba
import pytest
from numba.core import event
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

    begun, ended = message_of(exposure.path).splitlines()
    assert begun == "compiling kernels: once per machine, it can take a minute"
    assert re.fullmatch(r"kernels compiled in \d+ s", ended)
    assert message_of(exposure.path) == ""


PIPELINE = """
import sys
from pathlib import Path
from calbatch.calibrate import warm
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
COMPILE = """
warm.compile_kernels(print, step, path, references)
for done in jit.kernel_folder().glob("compiled-*"):
    done.unlink()
warm.compile_kernels(print, step, path, references)
"""
ORDER = """
sys.stdout.buffer.write(pack((step, path, references, sys.argv[2])))
"""


def run_python(code, exposure, tmp_path, *arguments, stdin=None):
    environment = {**os.environ, **exposure.set.environment(), "TMPDIR": str(tmp_path)}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "kernels")
    command = [sys.executable, "-c", code, str(exposure.path), *map(str, arguments)]
    return subprocess.run(
        command, env=environment, input=stdin, capture_output=True, check=True
    ).stdout


def test_the_kernels_of_a_pipeline_are_compiled_before_its_trial(tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    messages = run_python(PIPELINE + COMPILE, exposure, tmp_path).decode().splitlines()
    assert len(messages) == 2  # once they are in the cache, the second trial compiles nothing
    assert messages[0] == warm.MESSAGE
    assert not list(tmp_path.glob("*compiling*"))  # no claims are left


def test_without_helpers_this_process_compiles_alone(tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    missing = f"sys.executable = {str(tmp_path / 'python')!r}\nstep.saturation.skip = True\n"
    messages = run_python(PIPELINE + missing + COMPILE, exposure, tmp_path).decode().splitlines()
    assert [message.partition(":")[0] for message in messages[:1]] == ["compiling kernels"]
    assert [message.partition(" in ")[0] for message in messages[1:]] == ["kernels compiled"]


def test_other_threads_may_compile_during_a_trial():
    faults = []

    def compile_own():
        try:
            faults.append(numba.njit(lambda value: value + 1)(1))
        except BaseException as error:
            faults.append(error)

    with event.install_listener("numba:compile", warm._Refusal()):
        other = threading.Thread(target=compile_own)
        other.start()
        other.join()
        with pytest.raises(warm._CompilationNeededError):
            numba.njit(lambda value: value + 2)(1)
    assert faults == [2]


def test_a_helper_compiles_what_nobody_has_claimed(tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    claims = tmp_path / "claims"
    claims.mkdir()
    for claimed in ("saturation", warm.ALWAYS):
        (claims / f"part-{claimed}").touch()
    order = run_python(PIPELINE + ORDER, exposure, tmp_path, claims)
    kernels = tmp_path / "kernels"
    before = {path.name for path in kernels.rglob("*.nbi")}
    run_python(warm.HELPER, exposure, tmp_path, stdin=order)
    compiled = {path.name for path in kernels.rglob("*.nbi")} - before
    assert any("linearize" in name for name in compiled)
    assert not any("flag_integrations" in name for name in compiled)
    assert (claims / "part-linearity").exists()


def test_rare_kernels_are_compiled_where_parameters_ask_for_them():
    names = {}
    for value in (False, True):
        step = Detector1Pipeline()
        step.configure({"jump": {"find_showers": value}}, "test")
        names[value] = {module.__name__ for module in warm.kernel_modules(step)}
    rare = {"calbatch.calibrate.steps.jump." + name for name in ("emission", "rings", "showers")}
    assert names[True] - names[False] >= rare
    step.jump.skip = True
    assert {module.__name__ for module in warm.kernel_modules(step)} & rare == set()


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
