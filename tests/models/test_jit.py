"""The folder of compiled kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import numba
from calbatch.models import jit
from calbatch.models.fits import byteorder
byteorder.warm_kernels()
print(jit.kernel_folder())
print(numba.config.CACHE_DIR)
"""


def place(**environment):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_kernels_are_cached_by_the_state_of_the_sources(tmp_path, variable):
    others = {} if variable == "NUMBA_CACHE_DIR" else {"NUMBA_CACHE_DIR": ""}
    folder, numbas = place(**{**others, variable: str(tmp_path)})
    assert Path(folder).is_relative_to(tmp_path)
    assert list(Path(folder).rglob("*.nbc"))
    assert numbas == others.get("NUMBA_CACHE_DIR", str(tmp_path))


def test_old_versions_are_removed(tmp_path):
    for number in range(6):
        (tmp_path / f"calbatch-{number:016x}").mkdir()
    folder, _ = place(NUMBA_CACHE_DIR=str(tmp_path))
    left = list(tmp_path.iterdir())
    assert Path(folder) in left
    assert len(left) == 4


def test_without_a_writable_folder_kernels_last_as_long_as_the_process(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    folder, _ = place(XDG_CACHE_HOME=str(tmp_path / "file"), NUMBA_CACHE_DIR="")
    assert "calbatch-kernels-" in folder
    assert not Path(folder).exists()
