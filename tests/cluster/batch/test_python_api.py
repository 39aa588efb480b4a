"""Batches in this process, from exposures to products."""

import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits
from support.batches import DATE, checksums, copy_changed, products_in, quiet_console

from calbatch import cluster
from calbatch.calibrate.pipelines.simple import SimplePipeline
from calbatch.calibrate.registry import find
from calbatch.calibrate.step import Step
from calbatch.cluster import RequestError, Result
from calbatch.models.datamodels import RampModel


def run(*arguments, **options):
    return cluster.run(*arguments, **{"scheduler": "sync", "console": quiet_console(), **options})


def names(folder):
    return [p.name for p in products_in(folder)]


def stems(made):
    return [p.name.removesuffix("_uncal.fits") for p in made.exposures]


def halve(data):
    return data / 2


class Halve(Step):
    """A step of a user's own."""

    def process(self, exposure):
        return RampModel(exposure).map_tiles(halve, ["data"])


class FailsOnSecond(Step):
    """A step that has a fault of its own for one exposure."""

    def process(self, exposure):
        if "_00002_" in str(exposure.path):
            raise KeyError("surprise")
        return RampModel(exposure).map_tiles(halve, ["data"])


class Remarks(Step):
    """A step that warns and logs."""

    def process(self, exposure):
        warnings.warn(f"{exposure.path}: odd", UserWarning, stacklevel=2)
        warnings.warn("for developers", DeprecationWarning, stacklevel=2)
        return RampModel(exposure)


def test_a_folder_of_raw_exposures_becomes_rates(simulated, tmp_path):
    result = run("detector1", simulated.folder / "exposures", tmp_path / "out")
    wanted = sorted(f"{s}_{k}.fits" for s in stems(simulated) for k in ("rate", "rateints"))
    assert names(tmp_path / "out") == wanted
    assert isinstance(result, Result)
    assert result.exit_status == 0
    assert sorted(p.name for p in result.products) == wanted
    assert [o.path.name for o in result.outcomes] == [p.name for p in simulated.exposures]
    with fits.open(result.products[0]) as rate:
        assert np.isfinite(rate["SCI"].data).mean() > 0.9
        assert rate[0].header["S_RAMP"] == "COMPLETE"
        assert rate[0].header["CRDS_CTX"] == simulated.context


def test_intermediate_results_are_kept_on_request(simulated, tmp_path):
    chosen = simulated.exposures[0]
    run("detector1", chosen, tmp_path, save_steps="jump, dark_current")
    stem = stems(simulated)[0]
    kinds = ("dark_current", "jump", "rate", "rateints")
    assert names(tmp_path) == [f"{stem}_{k}.fits" for k in kinds]
    assert fits.getheader(tmp_path / f"{stem}_dark_current.fits")["S_DARK"] == "COMPLETE"
    assert "S_JUMP" not in fits.getheader(tmp_path / f"{stem}_dark_current.fits")


def test_results_of_the_last_step_are_named_after_it(simulated, tmp_path):
    run("detector1", simulated.exposures[0], tmp_path, save_steps="ramp_fit")
    stem, kinds = stems(simulated)[0], ("ramp_fit", "ramp_fit_1", "rate", "rateints")
    assert names(tmp_path) == [f"{stem}_{k}.fits" for k in kinds]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"output_dir": ""}, "empty"),
        ({"output_dir": "a", "parameters": {"output_dir": "b"}}, "-o a and output_dir = 'b'"),
        ({"output_dir": "a", "parameters": {"suffix": "uncal"}}, "named as raw exposures"),
    ],
)
def test_contradictory_names_of_products_are_refused(simulated, tmp_path, parameters, message):
    with pytest.raises(RequestError, match=message):
        run("jump", simulated.exposures[0], **parameters)


def test_products_go_to_the_working_folder_by_default(simulated, tmp_path, monkeypatch):
    run("detector1", simulated.exposures[0], tmp_path / "rates")
    monkeypatch.chdir(tmp_path)
    rate = tmp_path / "rates" / f"{stems(simulated)[0]}_rate.fits"
    result = run("flat_field", str(rate))
    assert [str(p) for p in result.products] == [
        f"{tmp_path}/{stems(simulated)[0]}_flat_field.fits"
    ]
    assert fits.getheader(result.products[0])["S_FLAT"] == "COMPLETE"


def test_a_parameter_file_names_the_step_and_its_folder(simulated, tmp_path):
    cfg = tmp_path / "mine.cfg"
    folder = tmp_path / "as_said"
    cfg.write_text(f'name = "superbias"\nsuffix = "debiased"\noutput_dir = "{folder}"\n')
    run(cfg, simulated.exposures[0])
    assert names(folder) == [f"{stems(simulated)[0]}_debiased.fits"]


def test_parameters_from_python(simulated, tmp_path):
    parameters = {"save_calibrated_ramp": True, "jump": {"skip": True}}
    run("detector1", simulated.exposures[0], tmp_path, parameters=parameters)
    ramp = tmp_path / f"{stems(simulated)[0]}_ramp.fits"
    assert fits.getheader(ramp)["S_JUMP"] == "SKIPPED"


def test_a_file_name_of_ones_own(simulated, tmp_path):
    parameters = {"output_file": "mine.fits"}
    run(SimplePipeline, simulated.exposures[0], tmp_path, parameters=parameters)
    assert names(tmp_path) == ["mine_ramp.fits"]
    with pytest.raises(RequestError, match=r"output_file = mine\.fits: 3 exposures need names"):
        run(SimplePipeline, simulated.exposures, tmp_path, parameters=parameters)


def test_a_product_never_takes_the_place_of_its_input(simulated, tmp_path):
    raw = tmp_path / "a_superbias.fits"
    shutil.copy(simulated.exposures[0], raw)
    before = checksums(tmp_path)
    result = run("superbias", raw, tmp_path)
    assert result.outcomes[0].error.endswith(
        "a_superbias.fits: the product would overwrite the input; choose another output folder"
    )
    assert checksums(tmp_path) == before


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("tile_rows", [None, 7])
def test_files_are_the_same_bit_for_bit(simulated, tmp_path, scheduler, tile_rows):
    chosen = simulated.exposures[0]
    how = {"date": DATE, "save_steps": "refpix,jump", "fsync": False}
    run("detector1", chosen, tmp_path / "a", tile_rows=20, **how)
    how |= {"scheduler": scheduler, "tile_rows": tile_rows, "workers": 3}
    run("detector1", chosen, tmp_path / "b", **how)
    assert checksums(tmp_path / "a") == checksums(tmp_path / "b")
    assert len(checksums(tmp_path / "a")) == 4


def test_only_the_date_differs_between_runs(simulated, tmp_path, monkeypatch):
    for name, epoch in (("a", "0"), ("b", "86400"), ("c", "0")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        run("superbias", simulated.exposures[0], tmp_path / name)
    assert checksums(tmp_path / "a") == checksums(tmp_path / "c")
    first, second = (fits.getheader(products_in(tmp_path / n)[0]) for n in "ab")
    differing = {c.keyword for c in first.cards if c.keyword and c.value != second[c.keyword]}
    assert differing == {"DATE", "CHECKSUM"}
    assert second["DATE"] == "1970-01-02T00:00:00.000"


def test_one_failure_stops_nothing_else(simulated, tmp_path):
    console = quiet_console()
    result = run(FailsOnSecond, simulated.exposures, tmp_path, console=console, debug=True)
    assert result.exit_status == 1
    assert [o.path for o in result.failed] == [simulated.exposures[1]]
    assert len(names(tmp_path)) == 2
    assert result.failed[0].error == (
        f"{simulated.exposures[1]}: KeyError: 'surprise' (a defect in calbatch or in one of your "
        "steps)"
    )
    shown = console.file.getvalue()
    assert f"FAILED {result.failed[0].error}" in shown
    assert 'raise KeyError("surprise")' in shown  # the traceback, as debug asks


def test_a_failure_is_one_line_without_debug(simulated, tmp_path):
    console = quiet_console()
    run(FailsOnSecond, simulated.exposures[1], tmp_path, console=console)
    lines = console.file.getvalue().splitlines()
    assert sum("surprise" in line for line in lines) == 1
    assert not any("Traceback" in line for line in lines)


def test_warnings_are_kept_with_their_exposure(simulated, tmp_path):
    outcome = run(Remarks, simulated.exposures[0], tmp_path).outcomes[0]
    assert outcome.warnings == (f"{simulated.exposures[0]}: odd",)


def test_stages_and_memory_are_told(simulated, tmp_path):
    outcome = run("detector1", simulated.exposures[0], tmp_path).outcomes[0]
    assert {"jump", "ramp_fit", "write"} <= set(outcome.stages)
    others = {"detector1", "read", "assign", "statistics", "write"}  # no kernel's name
    assert set(outcome.stages) <= others | find("detector1")().steps().keys()
    assert all(seconds >= 0 for seconds in outcome.stages.values())
    assert 30e6 < outcome.peaks[0].bytes < 10e9


def test_a_link_to_an_exposure_gives_its_name_to_the_products(simulated, tmp_path):
    link = tmp_path / "mine_uncal.fits"
    link.symlink_to(simulated.exposures[0])
    run(Halve, link, tmp_path / "out")
    assert names(tmp_path / "out") == ["mine_Halve.fits"]


def test_impossible_requests_are_refused(simulated, tmp_path):
    one = simulated.exposures[0]
    for options, message in (
        ({"scheduler": "slurm"}, "scheduler 'slurm': must be auto, local, threads, sync"),
        ({"date": "today"}, "date 'today': must be like 2024-01-31T12:00:00"),
        ({"context": "jwst_9999.pmap"}, "jwst_9999.pmap"),
    ):
        with pytest.raises(RequestError, match=message):
            run("detector1", one, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []


def test_an_option_that_there_is_not_is_refused(simulated, tmp_path):
    with pytest.raises(TypeError, match=r"there is no option 'worker'; did you mean 'workers'"):
        cluster.run("detector1", simulated.folder / "exposures", tmp_path, worker=2)


def test_a_missing_cache_is_reported_before_anything_runs(simulated, tmp_path, monkeypatch):
    monkeypatch.delenv("CRDS_PATH")
    with pytest.raises(RequestError, match="set CRDS_PATH"):
        run("detector1", simulated.exposures[0], tmp_path)


def test_no_cache_is_needed_where_no_reference_is(simulated, tmp_path, monkeypatch):
    monkeypatch.delenv("CRDS_PATH")
    assert run(Halve, simulated.exposures[0], tmp_path).exit_status == 0


def test_a_missing_reference_fails_the_exposures_that_need_it(simulated, tmp_path, monkeypatch):
    cache = shutil.copytree(simulated.crds, tmp_path / "crds")
    monkeypatch.setenv("CRDS_PATH", str(cache))
    gone = next(cache.rglob("*_dark_*.fits"))
    gone.unlink()
    chosen = simulated.exposures[0]
    result = run("detector1", chosen, tmp_path / "out")
    assert result.failed[0].error.startswith(f"{chosen}: no dark reference: ")
    assert gone.name in result.failed[0].error
    assert names(tmp_path / "out") == []
    skipping = {"dark_current": {"skip": True}}
    assert run("detector1", chosen, tmp_path / "out", parameters=skipping).exit_status == 0


def test_a_reference_that_does_not_fit_fails_its_exposures(simulated, tmp_path):
    bias = next(simulated.crds.rglob("*_superbias_*.fits"))
    with fits.open(bias) as hdus:
        for hdu in hdus[1:]:
            if hdu.is_image:
                hdu.data = hdu.data[:40, :60]
        hdus[0].header["SUBSIZE1"], hdus[0].header["SUBSIZE2"] = 60, 40
        hdus.writeto(tmp_path / "small.fits")
    given = {"superbias": {"override_superbias": str(tmp_path / "small.fits")}}
    result = run("detector1", simulated.exposures[0], tmp_path / "out", parameters=given)
    error = result.failed[0].error
    assert error.startswith(f"{simulated.exposures[0]}: {tmp_path / 'small.fits'}: does not cover")
    assert "columns 1 to 60 and rows 1 to 40" in error
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"INSTRUME": "FOO"}, "INSTRUME (meta.instrument.name) = 'FOO': must be one of"),
        ({"INSTRUME": None}, "the header does not name the instrument"),
        ({"DETECTOR": "NRCX9"}, "DETECTOR (meta.instrument.detector) = 'NRCX9': must be one of"),
        ({"READPATT": None}, "META.EXPOSURE.READPATT"),
        ({"DATE-OBS": None}, "META.OBSERVATION.DATE"),
        ({"TGROUP": None}, "the header lacks TGROUP"),
        ({"NFRAMES": None}, "lacks NFRAMES"),
        ({"FASTAXIS": 7}, "FASTAXIS = 7"),
        ({"SUBSTRT1": None}, "SUBSTRT1"),
        ({"READPATT": "NRSIRS2"}, "IRS2 readout (READPATT = NRSIRS2) is not supported"),
    ],
)
def test_a_header_that_will_not_do_fails_its_exposure(simulated, tmp_path, cards, message):
    bad = copy_changed(simulated.exposures[0], tmp_path / "bad_uncal.fits", **cards)
    result = run("detector1", bad, tmp_path / "out")
    assert result.exit_status == 1
    error = result.failed[0].error
    assert error.startswith(f"{bad}: ")
    assert message in error
    assert "defect in calbatch" not in error
    assert "\n" not in error
    assert names(tmp_path / "out") == []
