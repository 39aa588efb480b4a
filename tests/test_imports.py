"""Imports: layers, and the modules that alone use a library."""

import re
import tomllib

from support.repository import OTHERS, ROOT, SOURCE_FOLDERS, SOURCES, TESTS, imports, relative


def test_the_design_page_names_every_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    page = (ROOT / "docs" / "design.md").read_text()
    for contract in contracts["contracts"]:
        folder = contract.get("containers", [""])[0].removeprefix("calbatch").strip(".")
        if folder in SOURCE_FOLDERS:
            row = re.search(rf"^\| `{folder}/` \|.*$", page, re.MULTILINE).group()
            layers = set(re.findall(r"\w+", " ".join(contract["layers"]))) - {"__main__"}
            assert layers - set(re.findall(r"`(\w+)`", row)) == set()


def test_modules_are_imported_as_calbatch():
    found = [(relative(p), *i) for p in [*SOURCES, *TESTS, *OTHERS] for i in imports(p)]
    bare = [(p, m) for p, level, m in found if level or m.partition(".")[0] in SOURCE_FOLDERS]
    assert bare == [], "import calbatch.models, … instead"


def test_two_modules_make_graphs():
    machinery = ("dask.highlevelgraph", "dask.blockwise", "dask.delayed", "dask.core")
    users = {relative(p) for p in SOURCES for _, m in imports(p) if m.startswith(machinery)}
    assert users == {"models/tiling/blocks.py", "models/tiling/graphs.py"}


def test_one_module_calls_fsspec():
    users = {relative(p) for p in SOURCES for _, m in imports(p) if m.startswith("fsspec")}
    assert users == {"models/storage/stores.py"}


def test_one_module_uses_pythons_pools_of_threads():
    users = {relative(p) for p in SOURCES if "ThreadPoolExecutor" in p.read_text()}
    assert users == {"models/threads.py"}, "use calbatch.models.threads.ThreadPool"
