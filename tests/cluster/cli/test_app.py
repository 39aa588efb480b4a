"""The command line: its arguments, its output, and its exit status."""

import re
import shutil
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import calbatch, products_in

from calbatch.cluster.cli.app import cli
from calbatch.cluster.cli.options import split_parameters
from calbatch.models import datamodels
from calbatch.models.asdf.tagged import TaggedValue

PAGE = Path(__file__).resolve().parents[3] / "docs" / "cli.md"


# -- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "rest", "parameters"),
    [
        (["--jump.skip=True"], [], {"jump": {"skip": "True"}}),
        (["--jump.skip", "a.fits"], [], {"jump": {"skip": "a.fits"}}),
        (["--jump.skip", "-o", "out"], ["-o", "out"], {"jump": {"skip": "True"}}),
        (["--jump.skip"], [], {"jump": {"skip": "True"}}),
        (["--level", "-1.5"], [], {"": {"level": "-1.5"}}),
        (["--level", "-.5"], [], {"": {"level": "-.5"}}),
        (["--steps.jump.a=b=c"], [], {"jump": {"a": "b=c"}}),
        (["--output", "x", "y"], ["--output", "x", "y"], {}),
        (["--output=x"], ["--output=x"], {}),
        (["a", "--", "--jump.skip"], ["a", "--", "--jump.skip"], {}),
    ],
)
def test_parameters_are_told_from_options(arguments, rest, parameters):
    assert split_parameters(arguments, {"--output", "-o"}) == (rest, parameters)


@given(st.lists(st.sampled_from(["--a.b=1", "--c=2", "in.fits", "-o", "--output", "--"])))
def test_other_arguments_stay_in_order(arguments):
    rest, _ = split_parameters(arguments, {"--output"})
    kept = [a for a in arguments if not a.startswith(("--a", "--c"))]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    assert rest[: len(kept)] == kept or arguments[end:] == rest[-len(arguments[end:]) :]


# -- how it ends -------------------------------------------------------------------------------


def test_0_all_done(simulated, tmp_path):
    said = calbatch(
        "run", "detector1", simulated.folder / "exposures", "-o", tmp_path,
        "--timings", "--no-fsync", "--jump.rejection_threshold=5",
    )  # fmt: skip
    assert said.status == 0
    assert re.search(r"│ 3 +│ 3 +│ 0 +│ 6 ", said.out)
    assert re.search(r"│ ramp_fit +│ \d\.\d{3} ", said.out)
    assert f"products are in {tmp_path}" in said.out
    assert "detector1: 3 exposures, in this process" in said.err
    assert "3/3 done, 0 failed" in said.err
    assert len(list(tmp_path.glob("*.fits"))) == 6


def test_1_some_failed(simulated, tmp_path):
    bad = tmp_path / "bad_uncal.fits"
    bad.write_text("no FITS file at all")
    said = calbatch("run", "superbias", bad, simulated.exposures[0], "-o", tmp_path / "out")
    assert said.status == 1
    assert re.findall(r"^[\d: -]{19} (FAILED .*)$", said.err, re.MULTILINE) == [
        f"FAILED {bad}: is not FITS: it begins with b'no FITS file at ' instead of SIMPLE"
    ]
    assert "failed: bad_uncal.fits" in said.out
    assert "Traceback" not in said.err


def test_debug_shows_where(tmp_path, simulated):
    bad = tmp_path / "bad_uncal.fits"
    bad.write_text("no FITS file at all")
    said = calbatch("run", "superbias", bad, "-o", tmp_path / "out", "--debug")
    assert said.status == 1
    assert "Traceback" in said.err
    assert "signatures.py" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detectr1", "."], "no step or pipeline 'detectr1'; did you mean 'detector1'?"),
        (["detector1", "."], "no exposures: the folder . has no files *_uncal.fits"),
        (["detector1", "absent.fits"], "no exposures: there is no file or folder absent.fits"),
        (
            ["detector1", "RAW", "--jump.rejection_treshold=5"],
            "no parameter 'rejection_treshold'; did you mean 'rejection_threshold'?",
        ),
        (["detector1", "RAW", "--outptu=x"], "the option --output?"),
        (["detector1", "RAW", "--jump.skip=perhaps"], "must be True or False"),
        (["detector1", "RAW", "--save-steps", "jmp"], "no step 'jmp'; did you mean 'jump'?"),
        (["detector1", "RAW", "-o", "file"], "cannot write to"),
        (["detector1", "RAW", "TWIN"], "would both be"),
        (["detector1", "RAW", "--scheduler", "tcp://10.0.0.1:8786"], "not encrypted"),
        (["detector1", "RAW", "--scheduler", "pbs"], "scheduler 'pbs': must be"),
        (["detector1", "RAW", "--grain", "group"], "'--grain'"),
        (["detector1", "RAW", "--workers", "0"], "'--workers'"),
        (["detector1", "RAW", "--context", "jwst_9999.pmap"], "jwst_9999.pmap"),
        (["detector1", "RAW", "--dark_current.override_dark=gone.fits"], "there is no file gone"),
        (["detector1"], "'INPUT...'"),
        (["detector1", "RAW", "--suffix=../../x"], "suffix = '../../x': must not have slashes"),
        (["detector1", "RAW", "--output_file=a/b"], "output_file = 'a/b': must not have slashes"),
        (["detector1", "RAW", "--jump.output_dir=x"], "jump.output_dir = 'x': all products"),
        (["detector1", "RAW", "--jump.output_file=x"], "jump.output_file = 'x': the products"),
    ],
)
def test_2_the_request_was_wrong(simulated, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    raw = simulated.exposures[0]
    twin = shutil.copy(raw, tmp_path / raw.name.replace("_uncal", "_rate"))
    names = {"RAW": raw, "TWIN": twin}
    before = products_in(tmp_path)
    said = calbatch("run", *(names.get(a, a) for a in arguments))
    assert said.status == 2
    told = [line for line in said.err.splitlines() if message in line]
    assert len(told) == 1, said.err
    assert "Traceback" not in said.err
    assert products_in(tmp_path) == before


def test_watch_refuses_one_name_for_all_products(simulated, tmp_path):
    said = calbatch("watch", "detector1", tmp_path, "--output_file=mine", "--idle", "0")
    assert said.status == 2
    assert "output_file = mine: every exposure needs a name of its own" in said.err


def test_no_cache(simulated, tmp_path, monkeypatch):
    monkeypatch.delenv("CRDS_PATH")
    said = calbatch("run", "detector1", simulated.exposures[0], "-o", tmp_path)
    assert said.status == 2
    assert len(said.err.splitlines()) == 1
    assert "set CRDS_PATH" in said.err


def test_single_steps(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert calbatch("run", "detector1", simulated.exposures[0]).status == 0
    rate = next(tmp_path.glob("*_rate.fits")).name
    assert calbatch("run", "flat_field", rate).status == 0
    stem = rate.removesuffix("_rate.fits")
    assert (tmp_path / f"{stem}_flat_field.fits").is_file()
    Path("flat_field.cfg").write_text('name = "flat_field"\nsuffix = "flattened"\n')
    assert calbatch("run", "flat_field.cfg", rate).status == 0
    assert (tmp_path / f"{stem}_flattened.fits").is_file()


# -- telling -----------------------------------------------------------------------------------


def test_plan_describes_the_run(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad_uncal.fits"
    bad.touch()
    said = calbatch("plan", "detector1", simulated.folder / "exposures", bad)
    assert said.status == 1
    assert "detector1: 4 exposures" in said.out
    assert re.search(r"│ dark +│ jwst_nircam_dark_0001\.fits +│ [\d.]+ MB +│ 3 ", said.out)
    assert re.search(r"│ ipc +│ N/A +│ +│ 3 ", said.out)
    assert re.search(r"NRCA1 GENERIC RAPID, 2 x 5 x 48 x 64 +│ 3 +│ 1 +│ 48 ", said.out)
    assert f"would fail: {bad}: is empty (0 bytes)" in said.out
    assert products_in(tmp_path) == [bad]
    assert calbatch("plan", "detector1", simulated.exposures[0]).status == 0


def test_plan_lists_missing_references(simulated, tmp_path, monkeypatch):
    cache = shutil.copytree(simulated.crds, tmp_path / "crds")
    monkeypatch.setenv("CRDS_PATH", str(cache))
    next(cache.rglob("*_dark_*.fits")).unlink()
    said = calbatch("plan", "detector1", simulated.exposures[0])
    assert said.status == 1
    assert "jwst_nircam_dark_0001.fits" in said.out + said.err
    assert "no dark reference" in said.out


def test_steps_and_pipelines_are_listed_with_descriptions():
    said = calbatch("steps")
    assert said.status == 0
    assert re.search(r"^dark_current +\w.+", said.out, re.MULTILINE)
    said = calbatch("pipelines")
    assert re.search(r"^detector1 +Calibrate ramps to count rates", said.out, re.MULTILINE)


def test_params_say_where_values_come_from(tmp_path):
    cfg = tmp_path / "a.cfg"
    cfg.write_text("[jump]\nrejection_threshold = 5\n")
    said = calbatch("params", "detector1", "--cfg", cfg, "--jump.flag_4_neighbors=False")
    assert said.status == 0
    squeezed = re.sub(r"[│\s]+", " ", said.out)
    assert "jump.rejection_threshold 5.0 " in squeezed
    assert re.search(r"jump\.flag_4_neighbors False the command line", squeezed)


def test_params_as_cfg_are_read_back(tmp_path):
    said = calbatch("params", "detector1", "--as-cfg", "--jump.rejection_threshold=7.5")
    (tmp_path / "b.cfg").write_text(said.out)
    again = calbatch("params", tmp_path / "b.cfg", "--as-cfg")
    assert again.status == 0
    assert "rejection_threshold = 7.5" in again.out
    values = [line for line in said.out.splitlines() if not line.startswith("#")]
    assert values == [line for line in again.out.splitlines() if not line.startswith("#")]


def test_inspect_reads_no_pixel(simulated):
    said = calbatch("inspect", simulated.exposures[0], "--meta")
    assert said.status == 0
    assert "Level1bModel" in said.out
    assert "(2, 5, 48, 64)" in said.out
    assert "meta.instrument.detector (DETECTOR) = 'NRCA1'" in said.out


def test_inspect_shows_the_parts_of_a_tree(tmp_path):
    shift = TaggedValue("tag:stsci.edu:asdf/transform/shift-1.4.0", {"offset": 1.0})
    model = datamodels.DistortionModel(model=shift)
    model.meta.input_units, model.meta.output_units = "pixel", "arcsec"
    said = calbatch("inspect", model.save(tmp_path / "distortion.asdf"), "--meta")
    assert said.status == 0
    assert "DistortionModel" in said.out
    assert "model: transform of shift, in pixel → arcsec" in said.out
    assert "meta.input_units = 'pixel'" in said.out


def test_inspect_refuses_other_things_than_files():
    said = calbatch("inspect", "absent.fits")
    assert said.status == 2
    assert said.err == f"calbatch: {Path('absent.fits').absolute()}: there is no such file\n"


# -- every command and option is documented -------------------------------------------------------


def commands(group=cli, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


EVERY = {" ".join(path): command for path, command in commands()}


@pytest.mark.parametrize("name", EVERY)
def test_every_command_and_option_has_help(name):
    command = EVERY[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.help


@pytest.mark.parametrize("name", EVERY)
def test_the_page_tells_of_every_command_and_option(name):
    text = PAGE.read_text()
    assert f"calbatch {name}" in text
    for parameter in EVERY[name].params:
        for option in [*parameter.opts, *parameter.secondary_opts]:
            if option.startswith("--"):
                assert f"`{option}" in text, f"{name} {option}"


ACTING = {
    "run", "submit", "cancel", "resume", "recalibrate", "watch", "prune", "rebuild", "simulate",
    "demo", "completion", "refs sync", "refs verify",
}  # fmt: skip
"""Commands that do something, and print what they have done."""


@pytest.mark.parametrize("name", sorted(EVERY.keys() - ACTING - {"inspect"}))
def test_every_command_that_lists_something_prints_json(name):
    assert any("--json" in parameter.opts for parameter in EVERY[name].params)


def test_the_page_tells_of_no_option_that_there_is_not():
    there = {o for c in EVERY.values() for p in c.params for o in (*p.opts, *p.secondary_opts)}
    there |= {"--help", "--version", "--STEP.PARAMETER", "--PARAMETER"}
    told = set(re.findall(r"`(--?[\w.-]+)", PAGE.read_text()))
    assert {option for option in told if "." not in option or option in there} <= there


def test_errors_of_ours_are_not_hidden(monkeypatch):
    monkeypatch.setattr("calbatch.cluster.cli.commands.listings.steps", lambda **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        calbatch("steps")
