"""Users' code: pickled by value where it cannot be imported, by name where it can."""

import functools
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from calbatch.models.errors import ModelError
from calbatch.models.tiling import tasks
from calbatch.models.tiling.portable import PortableFunction, make_portable, pack, unpack

MODULE = """
import helper

def double(value):
    return helper.scale(value)

class Other:
    pass
"""
HELPER = """
def scale(value):
    return 2 * value
"""
UNPACK = """
import pathlib, sys
from calbatch.models.tiling.portable import unpack
print(unpack(pathlib.Path(sys.argv[1]).read_bytes())(21))
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's, which imports another one."""
    folder = tmp_path / "working_folder"
    folder.mkdir()
    (folder / "own_module.py").write_text(MODULE)
    (folder / "helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(str(folder))
    import own_module

    yield own_module
    for name in ("own_module", "helper"):
        sys.modules.pop(name, None)


def run_elsewhere(payload, folder):
    """Unpack a function in another process, outside the user's folder, and call it."""
    file = folder / "payload"
    file.write_bytes(payload)
    command = [sys.executable, "-c", UNPACK, str(file)]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout


def test_a_function_of_a_users_modules_runs_elsewhere(own_module, tmp_path):
    assert run_elsewhere(pack(own_module.double), tmp_path) == "42\n"
    assert run_elsewhere(pickle.dumps(make_portable(own_module.double)), tmp_path) == "42\n"


def test_installed_code_is_pickled_by_name():
    assert b"loadtxt" in pack(np.loadtxt)
    assert len(pack(np.loadtxt)) < 100


def test_modules_of_the_standard_library_are_known_without_a_search():
    """A search of all installed packages takes 0.2 s, in every batch."""
    code = """
import sysconfig
sysconfig.get_config_vars()  # imports a module that Python does not list as its own
from calbatch.models.tiling import portable
assert any(name.startswith("_sysconfigdata") for name in portable.sys.modules)
portable.pack(portable.Path)
print(portable._installed_packages.cache_info().currsize)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_equal_payloads_are_one_object(own_module):
    assert unpack(pack(own_module.Other)) is unpack(pack(own_module.Other))


def test_a_missing_module_is_reported():
    payload = b"cno_such_module\nfunction\n."
    with pytest.raises(
        ModelError, match=r"ModuleNotFoundError: No module named 'no_such_module'; install"
    ):
        unpack(payload)


def test_own_functions_need_no_wrapper(own_module):
    assert make_portable(tasks.set_field) is tasks.set_field
    partial = functools.partial(tasks.set_field, "data")
    assert make_portable(partial) is partial
    assert isinstance(make_portable(own_module.double), PortableFunction)
    assert isinstance(make_portable(functools.partial(own_module.double, 1)), PortableFunction)


def test_a_portable_function_is_unpickled_on_its_first_call():
    wrapper = object.__new__(PortableFunction)
    wrapper.__setstate__(b"not a pickle")
    copy = pickle.loads(pickle.dumps(wrapper))
    with pytest.raises(ModelError, match="its code cannot be loaded"):
        copy(1)


def test_pickling_again_keeps_the_payload(own_module):
    first = make_portable(own_module.double)
    second = pickle.loads(pickle.dumps(first))
    assert second(4) == first(4) == 8
    assert pickle.dumps(second) == pickle.dumps(first)


def test_modules_that_cannot_be_pickled_are_left_to_the_receiver(own_module):
    own_module.lock = threading.Lock()
    exec("def locked(value):\n    with lock:\n        return value", own_module.__dict__)
    assert unpack(pack(own_module.locked)) is own_module.locked
