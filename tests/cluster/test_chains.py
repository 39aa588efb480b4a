"""Pipelines one after another, on the command line, in files and in Python."""

import pytest
from astropy.io import fits
from support.batches import DATE, calbatch, checksums, products_in
from support.toys import registered_toys

import calbatch as package
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import find_batch
from calbatch.cluster.ledger import View

HOW = ("--scheduler", "sync", "--date", DATE, "--no-fsync")


@pytest.fixture
def toys(tmp_path, monkeypatch, simulated):
    with registered_toys(tmp_path / "site", monkeypatch):
        yield simulated


@pytest.fixture
def chained(toys, tmp_path):
    """Return the folder of a chain's products."""
    done = calbatch(
        "run", "detector1,toy2", toys.exposures[0], "-o", tmp_path / "out", *HOW,
        "--scale.factor=2", "--detector1.save_calibrated_ramp=true",
    )  # fmt: skip
    assert done.status == 0, done.err
    return tmp_path / "out"


def test_a_chain_makes_the_products_of_its_pipelines_one_by_one(chained, toys, tmp_path):
    ramp = ("--save_calibrated_ramp=true",)
    single = tmp_path / "single"
    assert calbatch("run", "detector1", toys.exposures[0], "-o", single, *HOW, *ramp).status == 0
    rate = next(single.glob("*_rate.fits"))
    assert calbatch("run", "toy2", rate, "-o", single, *HOW, "--scale.factor=2").status == 0
    assert len(checksums(chained)) == 4
    assert checksums(chained) == checksums(single)


def test_a_chain_is_one_unit_and_is_not_repeated(chained, toys, tmp_path):
    with View(chained / ".calbatch") as view:
        (batch,) = view.batches()
        assert batch.pipeline == "detector1,Toy2"
        assert [row.state for row in view.exposures(batch.id)] == ["done"]
        assert not view.has_members(batch.id)
    how = ("--scale.factor=2", "--detector1.save_calibrated_ramp=true")
    again = calbatch("run", "detector1,toy2", toys.exposures[0], "-o", chained, *HOW, *how)
    assert "1 of them earlier" in again.err
    assert calbatch("resume", find_batch(str(chained)).name).status == 0


def test_a_parameter_file_names_a_chain(toys, tmp_path):
    (tmp_path / "both.cfg").write_text("name = toy1, toy2\n[scale]\nfactor = 3\n")
    done = calbatch("run", tmp_path / "both.cfg", toys.exposures[0], "-o", tmp_path / "out", *HOW)
    assert done.status == 0, done.err
    with View(tmp_path / "out" / ".calbatch") as view:
        (batch,) = view.batches()
    assert batch.parameters["scale"]["factor"][0] == "3.0"


def test_products_of_an_earlier_pipeline_can_be_left_out(toys, tmp_path):
    parameters = {"Toy1": {"save_results": False}}
    result = package.run(
        "toy1,toy2", toys.exposures[0], tmp_path / "out", scheduler="sync",
        parameters=parameters, fsync=False,
    )  # fmt: skip
    assert [path.name[-9:] for path in result.products] == ["_cal.fits"]
    assert len(products_in(tmp_path / "out")) == 1


def test_steps_can_be_chained(toys, tmp_path):
    done = calbatch("run", "dq_init,saturation", toys.exposures[0], "-o", tmp_path / "out", *HOW)
    assert done.status == 0, done.err
    (product,) = products_in(tmp_path / "out")
    header = fits.getheader(product)
    assert (header["S_DQINIT"], header["S_SATURA"]) == ("COMPLETE", "COMPLETE")
    assert product.name.endswith("_saturation.fits")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("detector1,detector1", "detector1,detector1: detector1 appears 2 times"),
        ("detector1,toy3", "Toy3 takes cal, but detector1 makes rate and rateints"),
        ("detector1,toy4", "no step or pipeline 'toy4'"),
    ],
)
def test_incompatible_chains_are_refused(toys, tmp_path, names, message):
    with pytest.raises(RequestError, match=message):
        package.run(names, toys.exposures[0], tmp_path / "out")


def test_a_result_that_is_missing_fails_the_exposure(toys, tmp_path):
    done = calbatch(
        "run", "detector1,toy2", toys.exposures[0], "-o", tmp_path / "out", *HOW,
        "--ramp_fit.skip=true", "--jump.skip=true",
    )  # fmt: skip
    assert done.status == 1
    assert "detector1 made no rate, which Toy2 takes" in done.out + done.err
