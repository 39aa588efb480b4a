"""Hostile file names and headers: they leave no folder, and no terminal or shell obeys them."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.batches import DATE, calbatch, copy_changed, products_in, quiet_console
from support.notebooks import open_notebook

from calbatch import cluster
from calbatch.calibrate import products
from calbatch.calibrate.registry import find
from calbatch.cluster.exposure import messages, terminal
from calbatch.cluster.exposure.log import log_to_file
from calbatch.cluster.sites.slurm.commands import job_script
from calbatch.models import datamodels
from calbatch.models.datamodels import ImageModel

STEMS = [
    "\x1b[31mred\x1b]0;title\x07",
    "line\nFAILED nothing: all is well\r",
    "a;touch pwned;b",
    "$(touch pwned)`touch pwned`&|>pwned",
    "<img src=x onerror=alert(1)>",
    "[bold red]loud[blink]",
    "-o --force 'one' \"two\"",
    "\x9b31m\u202ebackwards",
]
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
"""Characters that a terminal obeys or cannot show; rich writes none of them to a file."""

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("\x1b\x07\x9b\r\n;$`'\"<>[]/.."))


@pytest.fixture
def hostile(simulated, tmp_path, monkeypatch):
    """Return a folder of exposures with hostile names, in an empty working folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    for stem in STEMS:
        shutil.copy(simulated.exposures[0], folder / f"{stem}_uncal.fits")
    monkeypatch.chdir(tmp_path)
    return folder


def names(folder):
    return {path.name for path in products_in(folder)}


def test_messages_with_hostile_names_are_escaped(hostile, tmp_path):
    how = ("superbias", hostile, "-o", "out", "--date", DATE)
    bad = hostile / f"{STEMS[0]}_uncal.fits"
    bad.write_bytes(b"no exposure" + STEMS[0].encode())
    worse = hostile / f"{STEMS[1]}_uncal.fits"
    worse.write_bytes(b"")
    completed = [
        calbatch("plan", *how),
        calbatch("run", *how, "--scheduler", "sync", "--no-fsync"),
        *(calbatch(*asked, "out") for asked in (["status"], ["logs"], ["report"])),
        *(calbatch("logs", "out", "--number", number) for number in range(len(STEMS))),
        calbatch("list"),
        calbatch("status", "out", "--exposures"),
        *(calbatch("report", "out", form) for form in ("--csv", "--json")),
        *(calbatch(name, "out", "--json") for name in ("status", "logs")),
        calbatch("plan", *how, "--json"),
    ]
    assert [s.status for s in completed][:5] == [1, 1, 1, 0, 1]
    for one in completed:
        assert UNSAFE.findall(one.out + one.err) == []
    failures = re.findall(r"^[\d: -]{19} FAILED .*$", completed[1].err, re.MULTILINE)
    assert len(failures) == 2
    assert any(r"line\nFAILED nothing: all is well\r_uncal.fits: is empty" in f for f in failures)
    assert names(tmp_path / "out") == {f"{stem}_superbias.fits" for stem in STEMS[2:]}
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out"}


def test_the_manifest_has_names_as_they_are(hostile, tmp_path):
    result = cluster.run("superbias", hostile, "out", scheduler="sync", console=quiet_console())
    assert result.counts == {"done": len(STEMS)}
    entries = json.loads(result.folder.manifest.read_text())["exposures"]
    assert {e["input"] for e in entries} == {str(path) for path in hostile.iterdir()}
    assert {Path(p["path"]) for e in entries for p in e["products"]} == set(result.products)
    assert {path.parent for path in result.products} == {tmp_path / "out"}
    assert "<Result" in repr(result)


def test_notebooks_show_hostile_names_as_text(hostile, simulated, tmp_path, monkeypatch):
    shown = open_notebook(monkeypatch)
    for path in hostile.iterdir():
        path.write_bytes(b"no exposure")
    console = Console(force_jupyter=True, width=200)
    cluster.run("superbias", hostile, "out", scheduler="sync", console=console)
    html = "".join(one.html for one in shown)
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img" not in html


def test_models_in_notebooks_are_text(simulated, tmp_path):
    evil = copy_changed(
        simulated.exposures[0], tmp_path / "<b>_uncal.fits", TARGPROP="<script>alert(1)</script>"
    )
    with datamodels.open(evil) as model:
        html = model._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<script" not in html
    assert "<b>" not in html


def test_headers_do_not_name_products(simulated, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    copy_changed(
        simulated.exposures[0], folder / "a_uncal.fits",
        FILENAME="../../evil.fits", OBS_ID="/etc/passwd", TARGPROP="$(touch pwned); ../x",
    )  # fmt: skip
    result = cluster.run(
        "superbias", folder, tmp_path / "out", scheduler="sync", console=quiet_console()
    )
    assert result.products == [tmp_path / "out" / "a_superbias.fits"]
    assert {path.name for path in tmp_path.rglob("*evil*")} == set()


def with_junk(source, target):
    """Copy an exposure, and append bytes after its last HDU, which causes a warning."""
    target.write_bytes(source.read_bytes() + b"junk" * 720)
    return target


def test_warnings_escape_hostile_file_names(simulated, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for stem in STEMS[:2]:
        evil = with_junk(simulated.exposures[0], folder / f"{stem}_uncal.fits")
    command = [sys.executable, "-P", "-m", "calbatch.cluster", "inspect", evil]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "are not an HDU and are ignored" in done.stderr
    assert UNSAFE.findall(done.stdout + done.stderr) == []
    assert done.stderr.count("\n") == 1
    out = tmp_path / "out"
    completed = calbatch("run", "superbias", folder, "-o", out, "--scheduler", "sync", "--no-fsync")
    assert UNSAFE.findall(completed.out + completed.err) == []
    (told,) = [
        line for line in completed.out.splitlines() if "are not an HDU and are ignored" in line
    ]
    assert told.startswith("warning: ")
    assert messages.escape_text(str(folder / STEMS[0])) in told or str(evil.parent) in told
    assert "(and in 1 more exposure)" in told


@pytest.mark.parametrize("typed", [["\x1b[31m"], ["status", "--\x1b[31m"], ["run", "\x9b31m", "x"]])
def test_arguments_are_echoed_escaped(typed):
    completed = calbatch(*typed)
    assert completed.status == 2
    assert UNSAFE.findall(completed.err) == []
    assert re.search(r"\\x(1b|9b)", completed.err)


PYTHONS_OWN = """
import logging, threading, warnings
from calbatch.cluster.exposure.messages import escape_python_messages
logging.basicConfig()
escape_python_messages()
escape_python_messages()
evil = "\x1b[31m\x07"
warnings.warn(evil)
logging.getLogger("calbatch").warning("%s", evil)
logging.lastResort.handle(logging.makeLogRecord({"msg": evil, "levelno": 40}))
thread = threading.Thread(target=lambda: exec("raise KeyError(evil)", {"evil": Exception(evil)}))
thread.start()
thread.join()
raise ValueError(evil)
"""


def test_messages_of_python_are_escaped():
    done = subprocess.run(
        [sys.executable, "-c", PYTHONS_OWN], capture_output=True, text=True, check=False
    )
    assert UNSAFE.findall(done.stderr) == []
    assert done.stderr.count(r"\x1b[31m") >= 5
    assert "Traceback" in done.stderr


def test_the_log_of_a_worker_is_escaped(tmp_path):
    path = tmp_path / "worker.log"
    with log_to_file(path):
        logging.getLogger("calbatch").warning("read %s", STEMS[0])
        text = path.read_text()
    assert r"\x1b[31mred" in text
    assert UNSAFE.findall(text) == []


def test_an_undecodable_name_is_refused_in_one_line(simulated, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    try:
        shutil.copy(simulated.exposures[0], folder / os.fsdecode(b"\xff\x1b_uncal.fits"))
    except OSError:
        pytest.skip("this file system has no such names")
    completed = calbatch("run", "superbias", folder, "-o", tmp_path / "out")
    assert completed.status == 2
    assert "the name is not UTF-8" in completed.err
    assert r"\udcff\x1b_uncal.fits" in completed.err
    assert completed.err.count("\n") == 1


@given(name=TEXTS.filter(bool))
@example(name="../../evil_uncal.fits")
@example(name="/etc/cron.d/evil")
@example(name="..")
def test_the_file_name_of_a_model_leads_to_no_other_folder(name):
    step = find("superbias")()
    step.output_dir = "/data/out"
    model = ImageModel((4, 4))
    model.meta.filename = name
    (path,) = products.product_paths(step, [("cal", model)])
    assert path.parent == Path("/data/out")
    assert Path(os.path.normpath(path)) == path
    assert path.name.endswith("_cal.fits")


@given(text=TEXTS)
@example(text="\x1b[31mred")
def test_consoles_print_no_control_sequences(text):
    console = terminal.Console(file=io.StringIO(), force_terminal=True, width=80)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    assert UNSAFE.findall(console.file.getvalue()) == []


@settings(max_examples=40)
@given(arguments=st.lists(TEXTS.map(lambda text: text.replace("\0", "")), max_size=4))
@example(arguments=STEMS)
def test_the_script_of_a_job_passes_arguments_unchanged(arguments):
    body = job_script(["/usr/bin/printf", "%s\\0", "first", *arguments])
    done = subprocess.run(["/bin/sh"], input=body.encode(), capture_output=True, check=True)
    assert done.stdout == b"".join(a.encode() + b"\0" for a in ["first", *arguments])


def test_lists_show_hostile_folder_names_as_text(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    monkeypatch.setenv("COLUMNS", "400")
    out = tmp_path / "[bold red]a\nb"
    how = ("-o", out, "--scheduler", "sync", "--date", DATE)
    assert calbatch("run", "superbias", simulated.exposures[0], *how).status == 0
    shown = str(out).replace("\n", "\\n")
    assert shown in calbatch("list").out
    assert shown in calbatch("prune", "--older-than", "0").out
