"""References of a batch: fetched once, or all reported missing; parameters by exposure."""

import io
import re
import shutil
from functools import partial

import pytest
from astropy.io import fits
from rich.console import Console
from stpipe._config import StepConfig
from support.crds_server import CrdsServer
from support.parameter_references import add_parameters, copy_cache
from support.simulated import small_exposure

from calbatch.calibrate.references import CrdsReferences
from calbatch.cluster.batch.python_api import run
from calbatch.cluster.cli.app import cli
from calbatch.cluster.display.fetch_progress import defer_fetching
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import find_registered
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.crds_client.cache.layout import Cache

SUPERBIAS = "jwst_niriss_superbias_0001.fits"
SATURATION = "jwst_niriss_saturation_0001.fits"

# stpipe writes the parameter references of these tests
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return a cache with parameter references for one readout pattern."""
    crds = copy_cache(simulate_small(), tmp_path_factory.mktemp("published") / "crds")
    jump = StepConfig("jwst.jump.JumpStep", "jump", {"skip": True}, [])
    add_parameters(crds, "pars-jumpstep", {"NIS": jump})
    return crds


def simulate_small():
    return small_exposure("NIS", shape=(32, 40))


@pytest.fixture
def server(published):
    with CrdsServer(Cache(published)) as serving:
        yield serving


@pytest.fixture
def cache(tmp_path, monkeypatch, server):
    """Return an empty cache with a server."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CRDS_PATH", str(folder))
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0001.pmap")
    monkeypatch.setenv("CRDS_SERVER_URL", server.url)
    monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "0")
    for name in ("CRDS_MODE", "STPIPE_DISABLE_CRDS_STEPPARS", "CALBATCH_NO_PARS"):
        monkeypatch.setenv(name, "")
    return folder


def exposures(folder, *readouts):
    """Copy the simulated exposure, once for each readout pattern."""
    paths = []
    for number, readpatt in enumerate(readouts):
        paths.append(folder / f"e{number}_uncal.fits")
        shutil.copy(simulate_small().path, paths[-1])
        fits.setval(paths[-1], "READPATT", value=readpatt)
    return paths


def batch_of(pipeline, paths, **options):
    step = configure_step(pipeline)
    planner = Planner(step, open_references(step), **options)
    (found,) = planner.plan_blocks(enumerate(paths))
    return planner, found


def quiet():
    return Console(file=io.StringIO(), width=200)


def output_of(console):
    return console.file.getvalue()


def references_asked(server):
    return {name: count for name, count in server.asked.items() if not name.endswith("map")}


@pytest.mark.usefixtures("cache")
def test_each_file_is_fetched_once_before_the_batch_starts(tmp_path, server):
    paths, console = exposures(tmp_path, *["NISRAPID"] * 3), quiet()
    result = run("superbias", paths, tmp_path / "out", scheduler="threads", console=console)
    assert not result.failed
    assert references_asked(server) == {SUPERBIAS: 1}
    text = output_of(console)
    assert "fetching 1 reference file" in text
    assert "fetched 1 of 1 file" in text
    assert text.index("fetched") < text.index("context jwst_0001.pmap (as requested)")
    assert fits.getval(result.products[0], "CRDS_CTX") == "jwst_0001.pmap"
    assert run("superbias", paths, tmp_path / "out", scheduler="sync", console=quiet()).done
    assert references_asked(server) == {SUPERBIAS: 1}


def test_everything_missing_is_reported_when_offline(tmp_path, cache, monkeypatch):
    open_references(configure_step("superbias")).resolve({}, [])  # fetches the context's rules
    paths = exposures(tmp_path, "NISRAPID")
    batch_of("superbias", paths)
    (cache / "references" / "jwst" / "niriss" / SUPERBIAS).unlink()
    monkeypatch.setenv("CRDS_SERVER_URL", "")
    console = quiet()
    result = run("superbias", paths, tmp_path / "out", scheduler="sync", console=console)
    assert re.search(rf"calbatch refs sync --files {SUPERBIAS}\n", output_of(console))
    (failed,) = result.failed
    assert SUPERBIAS in failed.error
    assert result.exit_status == 1


def test_an_unavailable_file_fails_only_the_exposures_that_need_it(tmp_path, cache, server):
    server.faults[SUPERBIAS] = ["gone"] * 9
    console = quiet()
    paths = exposures(tmp_path, "NISRAPID")
    result = run("superbias", paths, tmp_path / "out", scheduler="sync", console=console)
    assert "404" in result.failed[0].error
    assert not list(cache.rglob(SUPERBIAS))


@pytest.mark.usefixtures("cache")
def test_rules_are_fetched_with_progress(tmp_path, server):
    console = quiet()
    paths = exposures(tmp_path, "NISRAPID")
    run("superbias", paths, tmp_path / "out", scheduler="sync", console=console)
    found = re.search(
        r"fetching (\d+) rules files into .*\nfetched \1 of \1 files", output_of(console)
    )
    assert int(found[1]) == sum(name.endswith(("imap", "rmap")) for name in server.asked)


@pytest.mark.usefixtures("cache")
def test_rules_that_cannot_be_fetched_end_the_batch(tmp_path, server):
    names = [name for name in server.files if name.endswith(".rmap")]
    server.faults.update({name: ["gone"] * 9 for name in names})
    console, paths = quiet(), exposures(tmp_path, "NISRAPID")
    for number in (1, 2):  # the rules that have arrived are not taken for all
        with pytest.raises(
            RequestError, match=rf"^{len(names)} files could not be fetched: .*404"
        ) as e:
            run("superbias", paths, tmp_path / "out", console=console)
        assert str(e.value).endswith(f"; and {len(names) - 5} more")
        assert {server.asked[name] for name in names} == {number}
    assert not any(name in output_of(console) for name in names)
    assert tmp_path / "out" not in {folder.output for folder in find_registered()}


@pytest.mark.usefixtures("cache")
def test_rules_that_cannot_be_fetched_cannot_hide_parameters(tmp_path, server):
    server.faults["jwst_niriss_0001.imap"] = ["gone"]
    paths = exposures(tmp_path, "NISRAPID")
    how = {"scheduler": "sync", "console": quiet()}
    with pytest.raises(RequestError, match=r"404.*; --no-pars disables parameter references"):
        run("group_scale", paths, tmp_path / "out", **how)
    assert not run("group_scale", paths, tmp_path / "out", pars=False, **how).failed


@pytest.mark.usefixtures("cache")
def test_plan_fetches_no_references(tmp_path, server):
    console = quiet()
    fetching = partial(defer_fetching, console=console)
    _, (planned,) = batch_of("superbias", exposures(tmp_path, "NISRAPID"), fetch=fetching)
    assert references_asked(server) == {}
    assert "to be fetched first: 1 reference file: " + SUPERBIAS in output_of(console)
    assert SUPERBIAS in planned.references.missing["superbias"]


@pytest.mark.usefixtures("cache")
def test_parameters_belong_to_exposures(tmp_path, published):
    planner, found = batch_of("detector1", exposures(tmp_path, "NIS", "NISRAPID", "NIS"))
    skipped = [planned.settings.step.jump.skip for planned in found]
    assert skipped == [True, False, True]
    assert planner.resolution.parameters == {"jwst_niriss_pars-jumpstep_0001.asdf": 2}
    one, _, other = (planned.settings for planned in found)
    assert one is other  # all of one configuration
    # skipped steps need no references: the first exposure needs none for jump
    kinds = [set(planned.references.chosen) for planned in found]
    assert kinds[0] == kinds[2] <= kinds[1]


@pytest.mark.usefixtures("cache")
def test_parameter_references_are_ignored_on_request(tmp_path):
    paths = exposures(tmp_path, "NIS")
    _, (planned,) = batch_of("detector1", paths, use_pars=False)
    assert not planned.settings.step.jump.skip


def test_parameters_that_are_missing_fail_their_exposures(tmp_path, cache, monkeypatch):
    paths = exposures(tmp_path, "NIS", "NISRAPID")
    batch_of("detector1", paths)
    for path in cache.rglob("*.asdf"):
        path.unlink()
    monkeypatch.setenv("CRDS_SERVER_URL", "")
    _, (refused, fine) = batch_of("detector1", paths)
    assert "--no-pars" in str(refused.error)
    assert fine.error is None


@pytest.mark.usefixtures("cache")
def test_params_shows_the_source_of_a_value(tmp_path, capsys):
    (path,) = exposures(tmp_path, "NIS")
    cli.main(["params", "detector1", "--for", str(path), "--as-cfg"], standalone_mode=False)
    shown = capsys.readouterr().out
    section = shown.partition("[jump]")[2].partition("\n[")[0]
    assert re.search(r"from jwst_niriss_pars-jumpstep_0001\.asdf\nskip = True", section)


def test_equal_configurations_are_located_once(tmp_path, cache):
    _, found = batch_of("superbias", exposures(tmp_path, "NISRAPID", "NISRAPID"))
    headers = {planned.number: planned.header for planned in found}
    found = CrdsReferences().resolve(headers, ["superbias", "saturation"])
    assert found[0] is found[1]
    assert found[0].chosen["saturation"].path == cache.rglob(SATURATION).__next__()
