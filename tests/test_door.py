"""`import calbatch`: all that users need, imported when it is used."""

import ast
import importlib
import re
import rlcompleter
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from support.batches import DATE, products_in, small_set

import calbatch
from calbatch.calibrate import registry
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.registering import begin_batch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
HEAVY = {"astropy", "click", "dask", "distributed", "importlib.metadata", "numba", "numpy", "rich"}


def modules_after(code):
    """Return the modules that a new interpreter has imported after some code."""
    program = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "code", ["import calbatch", "import calbatch; dir(calbatch)", "from calbatch import steps"]
)
def test_the_package_imports_nothing_until_it_is_used(code):
    assert not modules_after(code) & HEAVY


def test_each_name_is_the_object_of_its_own_module():
    for name, module in calbatch._OBJECTS.items():
        assert getattr(calbatch, name) is getattr(
            importlib.import_module(f"calbatch.{module}"), name
        )
    for name, module in calbatch._MODULES.items():
        assert getattr(calbatch, name) is importlib.import_module(f"calbatch.{module}")
    assert set(calbatch.__all__) <= {*calbatch._OBJECTS, *calbatch._MODULES}
    assert "open" not in calbatch.__all__


@pytest.mark.parametrize("namespace", [calbatch, calbatch.steps, calbatch.pipelines])
def test_an_unknown_name_is_an_attribute_error(namespace):
    with pytest.raises(AttributeError, match="rejection"):
        namespace.rejection  # noqa: B018 - the access is the test


def typed_names(module):
    """Return the names that are imported for type checkers alone."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname: f"{node.module}:{alias.name}"
        for node in imports
        for alias in node.names
        if alias.asname
    }


@pytest.mark.parametrize(
    ("namespace", "table"),
    [(calbatch.steps, registry.STEPS), (calbatch.pipelines, registry.PIPELINES)],
)
def test_every_registered_class_is_an_attribute(namespace, table):
    for name in table:
        assert getattr(namespace, name) is registry.find(name)
    assert set(namespace.__all__) == set(table)
    assert typed_names(namespace) == table


def test_type_checkers_see_every_name():
    typed = {*typed_names(calbatch)}
    assert typed == {*calbatch._OBJECTS, *calbatch._MODULES}


def test_steps_of_other_packages_are_attributes(tmp_path, monkeypatch):
    (tmp_path / "fine_steps.py").write_text(
        "from calbatch import Step\n\n\nclass FineStep(Step):\n    class_alias = 'fine'\n"
    )
    info = tmp_path / "fine_steps-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fine-steps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[calbatch.steps]\nfine = fine_steps:FineStep\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.steps.cache_clear()
    try:
        assert calbatch.steps.fine.__name__ == "FineStep"
        assert "fine" in dir(calbatch.steps)
    finally:
        registry.steps.cache_clear()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("calbatch.ru", "calbatch.run("),
        ("calbatch.steps.ju", "calbatch.steps.jump("),
        ("calbatch.pipelines.det", "calbatch.pipelines.detector1("),
    ],
)
def test_names_are_completed(typed, offered):
    completer = rlcompleter.Completer({"calbatch": calbatch})
    completions = {completer.complete(typed, number) for number in range(3)}
    assert any(each and each.startswith(offered.rstrip("(")) for each in completions)


def import_path(path):
    """Return the object of a dotted path: a module, or an attribute of one."""
    names = path.split(".")
    for count in range(len(names), 0, -1):
        try:
            found = importlib.import_module(".".join(names[:count]))
        except ModuleNotFoundError:
            continue
        for name in names[count:]:
            found = getattr(found, name)
        return found
    raise ImportError(path)


def documented_paths():
    """Yield every import path of calbatch that README and docs name."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for module, names in re.findall(r"from (calbatch[\w.]*) import ([\w, ]+)", text):
            yield from (f"{module}.{name.split(' as ')[0].strip()}" for name in names.split(","))
        yield from re.findall(r"^\s*import (calbatch[\w.]*)", text, re.MULTILINE)
        for name in re.findall(r"(?:auto\w+::|`) ?(calbatch(?:\.\w+)+)[ `(\n]", text):
            if not name.endswith((".py", ".yaml", ".sites", ".models", ".steps", ".pipelines")):
                yield name


PROMISED = [
    "calbatch.Batch",
    "calbatch.attach",
    "calbatch.calibrate.parameters.Float",
    "calbatch.calibrate.pipeline.Pipeline",
    "calbatch.calibrate.pipelines.detector1.Detector1Pipeline",
    "calbatch.calibrate.simulate.simulate",
    "calbatch.calibrate.step.Step",
    "calbatch.calibrate.steps.jump.JumpStep",
    "calbatch.cluster.Outcome",
    "calbatch.cluster.RequestError",
    "calbatch.cluster.Result",
    "calbatch.cluster.cli.main",
    "calbatch.cluster.run",
    "calbatch.crds_client.Client",
    "calbatch.crds_client.CrdsError",
    "calbatch.models.datamodels.RampModel",
    "calbatch.models.datamodels.open",
    "calbatch.models.dq",
]
"""Paths that stay, whether or not the documentation names them."""


def test_documented_and_promised_import_paths_exist():
    missing = []
    for path in sorted({*documented_paths(), *PROMISED}):
        try:
            import_path(path)
        except (ImportError, AttributeError):
            missing.append(path)
    assert missing == []


@pytest.mark.parametrize("target", ["calbatch.cluster.cli:main", "calbatch.cluster.cli.app:main"])
def test_the_command_line_is_where_scripts_look_for_it(target):
    assert callable(EntryPoint("calbatch", target, "console_scripts").load())


def test_the_script_of_the_project_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, target in project["scripts"].items():
        assert callable(EntryPoint(name, target, "console_scripts").load())


@pytest.fixture
def how(tmp_path, monkeypatch):
    """Return the arguments of a small batch in the background."""
    for name, value in small_set().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    return {
        "pipeline": "superbias", "inputs": small_set().exposures[:1],
        "output_dir": tmp_path / "out", "scheduler": "sync", "date": DATE, "fsync": False,
    }  # fmt: skip


def test_a_submitted_batch_is_waited_for(how):
    submitted = calbatch.submit(**how)
    assert isinstance(submitted, calbatch.Batch)
    result = submitted.wait(timeout=120)
    assert result.state == submitted.state == "done"
    assert result.counts == {"done": 1}
    assert [outcome.failed for outcome in result.outcomes] == [False]
    assert len(products_in(how["output_dir"])) == 1


def test_waiting_for_a_batch_ends_in_time(how):
    batch = begin_batch(*build_order(BatchArguments(**how)))
    with pytest.raises(TimeoutError, match=rf"{batch.folder.name} is planned after 0 s"):
        calbatch.attach(batch.folder.name).wait(timeout=0)


def test_an_unknown_option_of_submit_is_a_type_error(how):
    with pytest.raises(TypeError, match=r"wokers.*workers"):
        calbatch.submit(**how, wokers=2)
    assert not how["output_dir"].exists()
