"""Kernels are compiled once, by several processes, and the compilation is reported."""

import os
import re
import subprocess
import sys

import pytest
from support.compiling import PIPELINE, run_python
from support.simulated import small_exposure

from calbatch.calibrate import compilation, registry
from calbatch.calibrate.references import ResolvedReferences

CODE = """
import sys
from pathlib import Path
from calbatch.calibrate import registry
from calbatch.calibrate.compilation import Compilation
from calbatch.calibrate.references import CrdsReferences
from calbatch.models import datamodels

path = Path(sys.argv[1])
step = registry.find("superbias")()
header = datamodels.open(path).to_flat_dict()
references = CrdsReferences().resolve({0: header}, ["superbias"])[0]
with Compilation(print) as compilation:
    compilation.finish(step, path, references)
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


COMPILE = """
with Compilation(print) as compilation:
    compilation.finish(step, path, references)
for done in jit.kernel_folder().glob("compiled-*"):
    done.unlink()
with Compilation(print) as compilation:
    compilation.finish(step, path, references)
"""
BEGIN = """
with Compilation(print) as compilation:
    compilation.begin(step, path, references, is_fetching=True)
    compilation.begin(step, path, references, is_fetching=True)  # the first call counts
    print(compilation.describe())
    compilation.finish(step, path, references)
with Compilation(print) as compilation:
    compilation.begin(step, path, references, is_fetching=True)
    compilation.finish(step, path, references)
"""


def list_messages(code, exposure, tmp_path):
    """Return the messages that a program prints, except those on progress."""
    lines = run_python(code, exposure, tmp_path).decode().splitlines()
    return [line for line in lines if not line.startswith("kernels: ")]


def test_the_kernels_of_a_pipeline_are_compiled_before_its_trial(tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    messages = list_messages(PIPELINE + COMPILE, exposure, tmp_path)
    assert len(messages) == 2  # once they are in the cache, the second trial compiles nothing
    assert messages[0] == compilation.MESSAGE
    assert not list(tmp_path.glob("*compiling*"))  # no claims are left


@pytest.mark.parametrize(
    "executable", ["/missing/python", pytest.param(None, marks=pytest.mark.ci)]
)
def test_without_helpers_this_process_compiles_alone(tmp_path, executable):
    exposure = small_exposure("NIS", ngroups=4)
    missing = f"sys.executable = {executable!r}\nstep.saturation.skip = True\n"
    messages = list_messages(PIPELINE + missing + COMPILE, exposure, tmp_path)
    assert [message.partition(":")[0] for message in messages[:1]] == ["compiling kernels"]
    assert [message.partition(" in ")[0] for message in messages[1:]] == ["kernels compiled"]


@pytest.mark.ci
def test_a_compilation_that_has_begun_is_not_repeated(tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    messages = list_messages(PIPELINE + BEGIN, exposure, tmp_path)
    assert [line.partition(" in ")[0] for line in messages] == [
        compilation.MESSAGE, "", "kernels compiled",
    ]  # fmt: skip


SUBSTITUTE = """
from dataclasses import replace
from numba.core import event

class Witness(event.Listener):
    def on_start(self, event):
        print("alone")
    def on_end(self, event):
        pass

awaited = {
    kind: replace(one, path=one.path and one.path.with_suffix(".awaited"))
    for kind, one in references.chosen.items()
}
with Compilation(print) as compilation, event.install_listener("numba:compile", Witness()):
    compilation.begin(step, path, replace(references, chosen=awaited), is_fetching=True)
    compilation.finish(step, path, references)
"""


@pytest.mark.ci
def test_kernels_are_compiled_for_another_exposure_if_references_fail_to_arrive(tmp_path):
    exposure = small_exposure("NIS", ngroups=4)
    messages = list_messages(PIPELINE + SUBSTITUTE, exposure, tmp_path)
    assert messages == [compilation.MESSAGE, "kernels compiled"]


def test_an_invalid_exposure_is_ignored(tmp_path):
    (tmp_path / "bad.fits").write_bytes(b"nothing")
    messages = []
    step = registry.find("superbias")()
    with compilation.Compilation(messages.append) as compiling:
        compiling.begin(step, tmp_path / "bad.fits", ResolvedReferences(""), is_fetching=True)
        compiling.finish(step, tmp_path / "bad.fits", ResolvedReferences(""))
    assert messages == []
