"""Names of products, and the folders that they are written to."""

import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.products import lock_folder, product_paths, publish_file, save
from calbatch.calibrate.step import Step
from calbatch.models import datamodels
from calbatch.models.storage.location import Url


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return the path of a small image."""
    path = tmp_path_factory.mktemp("in") / "jw1_uncal.fits"
    hdu = fits.ImageHDU(np.arange(6, dtype=np.float32).reshape(2, 3), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path


@pytest.fixture
def model(source):
    return datamodels.ImageModel(source)


def paths(model, *suffixes, **parameters):
    step = Step("jump", **parameters)
    return product_paths(step, [(suffix, model) for suffix in suffixes])


def test_products_are_beside_the_input_by_default(model, source):
    folder = source.parent
    assert paths(model, "rate", "rateints") == [
        folder / "jw1_rate.fits",
        folder / "jw1_rateints.fits",
    ]


def test_products_go_to_the_output_folder(model, tmp_path):
    assert paths(model, "rate", output_dir=str(tmp_path)) == [tmp_path / "jw1_rate.fits"]


def test_products_can_go_to_a_store(model):
    assert paths(model, "rate", output_dir="memory://a/b") == [Url("memory://a/b/jw1_rate.fits")]


def test_products_are_named_for_the_output_file(model, source):
    assert paths(model, "rate", output_file="mine_uncal.fits") == [source.parent / "mine_rate.fits"]
    assert paths(model, "rate", output_file="elsewhere/mine") == [source.parent / "mine_rate.fits"]


def test_a_file_of_an_abandoned_attempt_is_not_published(tmp_path):
    pipeline = type("One", (Pipeline,), {"step_defs": {"jump": Step}})()
    pipeline.staging = tmp_path / "staging"
    pipeline.staging.mkdir()
    final = tmp_path / "out" / "a.asdf"

    def write(path):
        assert path.parent == pipeline.staging
        path.write_text("new")

    publish_file(pipeline.jump, final, write)
    assert final.read_text() == "new"

    def write_and_be_abandoned(path):
        path.write_text("newer")
        path.unlink()
        pipeline.staging.rmdir()

    for late in (write_and_be_abandoned, write):
        with pytest.raises(FileNotFoundError):
            publish_file(pipeline.jump, final, late)
    assert final.read_text() == "new"
    assert list(final.parent.iterdir()) == [final]


def test_a_file_that_cannot_be_renamed_across_file_systems_is_refused(tmp_path):
    elsewhere = Path("/dev/shm")
    if elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    step = Step()
    step.staging = tmp_path
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        final = Path(folder) / "a.asdf"
        with pytest.raises(StepError, match=rf"{final}: .* name one in that folder"):
            publish_file(step, final, lambda path: path.touch())
        assert list(Path(folder).iterdir()) == []


def test_a_file_beside_products_in_a_store_is_refused(tmp_path):
    step = Step()
    step.output_dir = "memory://a/b"
    with pytest.raises(StepError, match="they go to memory://a/b"):
        publish_file(step, tmp_path / "a.asdf", lambda path: path.touch())
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time_updates_a_file(tmp_path):
    """Eight processes add 20 each to a number in a file."""
    code = """
        import sys
        from pathlib import Path
        from calbatch.calibrate.products import lock_folder
        path = Path(sys.argv[1])
        for _ in range(20):
            with lock_folder(path.parent):
                path.write_text(str(int(path.read_text()) + 1))
    """
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", textwrap.dedent(code), str(number)]
    processes = [subprocess.Popen(command) for _ in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert number.read_text() == "160"


def test_a_folder_that_stays_locked_is_an_error(tmp_path):
    with (
        lock_folder(tmp_path),
        pytest.raises(StepError, match=f"{tmp_path}: another process"),
        lock_folder(tmp_path, patience=0),
    ):
        pytest.fail("was locked twice")


def test_two_products_of_one_name_are_an_error(model):
    with pytest.raises(StepError, match=r"jump: two products would be called jw1_rate\.fits"):
        paths(model, "rate", "rate")


def test_a_model_without_a_file_is_named_by_its_metadata_or_not_at_all():
    model = datamodels.ImageModel((2, 3))
    with pytest.raises(StepError, match=r"jump: .*output_file"):
        paths(model, "rate")
    assert paths(model, "rate", output_file="mine.fits") == [Path("mine_rate.fits")]
    model.meta.filename = "jw2_uncal.fits"
    assert paths(model, "rate") == [Path("jw2_rate.fits")]


def test_products_are_written_together_into_a_folder_that_is_made(model, tmp_path):
    folder = tmp_path / "a" / "b"
    step = Step("jump", output_dir=str(folder))
    save(step, [("one", model), ("two", model)])
    assert sorted(path.name for path in folder.iterdir()) == ["jw1_one.fits", "jw1_two.fits"]
    for name in ("one", "two"):
        np.testing.assert_array_equal(
            fits.getdata(folder / f"jw1_{name}.fits", "SCI"), [[0, 1, 2], [3, 4, 5]]
        )


class Part(Step):
    """A step that does nothing."""


class Whole(Pipeline):
    """A pipeline of one step."""

    step_defs = {"part": Part}


def test_a_step_sees_the_members_of_its_pipeline():
    whole = Whole()
    assert dict(whole.part.members) == {}
    whole.members = {"background": ["model"]}
    assert whole.part.members["background"] == ["model"]
    assert dict(Whole().members) == {}


def test_a_state_is_the_member_with_its_suffix():
    whole = Whole()
    assert whole.part.received_state("memory") is None
    whole.members = {"memory": ["model"]}
    assert whole.part.received_state("memory") == "model"
