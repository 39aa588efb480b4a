"""The folder of compiled kernels, their compilation on first use, and kernels with views only."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import NumbaError

from calbatch.models import jit
from calbatch.models.fits import byteorder
from calbatch.models.threads import ThreadPool
from calbatch.models.tiling.portable import pack

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


def test_threads_compile_a_kernel_once():
    @jit.kernel
    def double(value):
        return 2 * value

    with ThreadPool(4) as pool:
        assert list(pool.map(double, range(8))) == list(range(0, 16, 2))
        found = set(pool.map(lambda _: id(double.dispatcher), range(8)))
    assert found == {id(double.dispatcher)}
    assert len(double.dispatcher.signatures) == 1


EDITED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import own_kernels
if sys.argv[2:]:
    path = own_kernels.__file__
    text = open(path).read().replace("1000", sys.argv[2])
    open(path, "w").write(text)
    os.utime(path, (2 * 10**9, 2 * 10**9))
print(own_kernels.add(1))
"""
EDITED_KERNELS = """
from calbatch.models.jit import kernel

@kernel
def add(value):
    return value + 1000
"""


def test_a_kernel_whose_source_was_edited_before_its_first_call_is_not_stored(tmp_path):
    (tmp_path / "own_kernels.py").write_text(EDITED_KERNELS)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}

    def run(*new):
        command = [sys.executable, "-c", EDITED, str(tmp_path), *new]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert run("2000") == 1001  # what was loaded
    assert run() == run() == 2001
    assert list((tmp_path / "kernels").rglob("own_kernels*.nbc"))


def test_calbatchs_kernels_are_pickled_by_name():
    kernel = byteorder._swap_and_flip
    for _ in range(2):
        assert pickle.loads(pickle.dumps(kernel)) is kernel
        kernel(np.zeros(2, np.uint16), np.uint16(0))


UNPACK = """
import pathlib, sys
from calbatch.models.tiling.portable import unpack
print(unpack(pathlib.Path(sys.argv[1]).read_bytes())(1))
"""


def test_a_users_kernels_are_pickled_by_value(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "users_kernels.py").write_text(
        f"{EDITED_KERNELS}\ndef add_twice(value):\n    return add(add(value))\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    import users_kernels

    payloads = [pack(users_kernels.add_twice)]
    assert users_kernels.add_twice(1) == 2001
    payloads.append(pack(users_kernels.add_twice))
    shutil.rmtree(folder)
    for payload in payloads:  # before and after the first call
        (tmp_path / "payload").write_bytes(payload)
        command = [sys.executable, "-c", UNPACK, str(tmp_path / "payload")]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout == "2001\n"


def test_importing_numba_leaves_garbage_collection_as_it_was():
    code = (
        "import gc\n"
        "from calbatch.models import jit\n"
        "if {off}: gc.disable()\n"
        "jit.load_numba()\n"
        "print(gc.isenabled())"
    )
    for off in (True, False):
        command = [sys.executable, "-c", code.format(off=off)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == f"{not off}\n"


def test_a_function_is_called_when_numba_compiles():
    negate = jit.load_numba().njit(lambda value: -value)  # without a cache
    calls = []
    with jit.call_at_compilation(lambda: calls.append("now")):
        assert negate(1) == -1
        assert negate(2) == -2
        assert calls == ["now"]
    assert negate(1.0) == -1.0
    assert calls == ["now"]


def test_code_for_kernels_cannot_be_called_elsewhere():
    with pytest.raises(NotImplementedError, match="_swap_bytes can be called by kernels only"):
        byteorder.byteswap(np.uint16(1))


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


@jit.view_kernel
def make_array(size):
    return np.zeros(size)


@jit.inner_view_kernel
def rows(array):
    return array[0], array[1:]


@jit.view_kernel
def add_rows(array, total):
    first, others = rows(array)
    for k in range(others.shape[0]):
        for c in range(total.size):
            total[c] += first[c] * others[k, c]


def test_view_kernels_use_views():
    total = np.zeros(2)
    add_rows(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), total)
    assert total.tolist() == [8.0, 20.0]


def test_view_kernels_make_no_arrays():
    with pytest.raises(NumbaError):
        make_array(3)


LINEAR_ALGEBRA = """
import sys
import numba, numpy as np
from calbatch.models.fits import byteorder
byteorder.warm_kernels()
print("scipy.linalg" in sys.modules)
multiply = numba.njit(lambda left, right: left @ right)
print(multiply(np.eye(2), np.full((2, 2), 3.0)).tolist())
"""


def test_kernels_do_without_linear_algebra_until_one_uses_it():
    code = [sys.executable, "-c", LINEAR_ALGEBRA]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "[[3.0, 3.0], [3.0, 3.0]]"]


EXCHANGED = """
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
import own_kernels
print(own_kernels.add(np.arange(4, dtype="i4")), own_kernels.add(np.arange(4, dtype="f4")))
"""
OWN_KERNELS = """
from calbatch.models.jit import kernel

@kernel
def add(values):
    total = values[0]
    for value in values:
        total += value
    return total
"""


def test_a_kernel_for_other_types_is_not_loaded(tmp_path):
    """Processes that store two versions at once can leave each under the other's name."""
    (tmp_path / "own_kernels.py").write_text(OWN_KERNELS)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}

    def run():
        command = [sys.executable, "-c", EXCHANGED, str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert run() == "6 6.0\n"
    one, other = (tmp_path / "kernels").rglob("own_kernels*.nbc")
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert run() == "6 6.0\n"
