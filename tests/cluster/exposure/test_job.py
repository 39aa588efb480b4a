"""One attempt at an exposure, in this process."""

import math
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
import xxhash
from support.batches import DATE, small_set
from support.placed import Plain, jobs

from calbatch.calibrate import registry
from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.job import (
    ExposureOptions,
    build_products,
    calibrate,
    prepare_job,
)
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.models import datamodels
from calbatch.models.datamodels import RampModel
from calbatch.models.errors import ChangedError
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.readers import RowReader
from calbatch.models.storage import local_files, passing_digests
from calbatch.models.tiling import reference_cache


class Failing(Step):
    """A step that always fails."""

    def process(self, exposure):
        raise KeyError("surprise")


class Warns(Step):
    """A step that warns twice of the same."""

    def process(self, exposure):
        for _ in range(2):
            warnings.warn("odd", UserWarning, stacklevel=1)
        return RampModel(exposure)


@pytest.fixture
def job(tmp_path):
    (made,) = jobs(small_set().exposures[:1], tmp_path / "out")
    return made


def products(job):
    return sorted(path.name for path in Path(job.step.output_dir).iterdir())


def with_step(job, cls):
    step = cls()
    step.output_dir = job.step.output_dir
    return replace(job, step=step)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_calibrated_exposure_has_products_times_and_memory(job, threads):
    outcome = calibrate(job, threads)
    assert not outcome.failed
    (product,) = outcome.products
    assert product.parent.name == "out"
    assert product.is_file()
    assert outcome.written[0].size == product.stat().st_size
    assert outcome.content
    assert outcome.seconds > 0
    assert outcome.peaks[0].bytes > 0


def test_references_are_forgotten_if_less_memory_is_left_for_them(job):
    reader = RowReader(read_layout(job.path).hdus[1])
    held = []
    for limit in (2**30, 0):
        with dask.config.set({reference_cache.SETTING: limit}):
            reference_cache.read_shared_rows(reader, (0, 1), (0, reader.shape[-1]))
            assert not calibrate(job).failed
        held.append(reference_cache.cached_bytes() > 0)
    assert held == [True, False]


def test_the_date_of_products_can_be_set(job):
    with datamodels.open(calibrate(job).products[0]) as model:
        assert model.meta.date == DATE


def test_the_outcome_of_a_failure_has_its_reason(job):
    outcome = calibrate(with_step(job, Failing))
    assert outcome.failed
    assert outcome.kind is FailureKind.FAULT
    assert outcome.error.startswith(f"{job.path}: KeyError: 'surprise'")
    assert "Traceback" in outcome.details
    assert products(job) == []


def test_repeated_warnings_are_kept_once(job):
    assert [w for w in calibrate(with_step(job, Warns)).warnings if "odd" in w] == ["odd"]


def test_an_input_that_changed_since_planning_is_refused(job):
    outcome = calibrate(replace(job, stamp=(1, 2)))
    assert outcome.kind is FailureKind.CHANGED
    with pytest.raises(ChangedError):
        prepare_job(replace(job, stamp=(1, 2)))
    status = job.path.stat()
    assert not calibrate(replace(job, stamp=(status.st_size, status.st_mtime_ns))).failed


def test_a_product_must_not_overwrite_a_reference(job, tmp_path):
    raw, reference = tmp_path / "a_uncal.fits", tmp_path / "a_dq_init.fits"
    raw.write_bytes(job.path.read_bytes())
    datamodels.MaskModel(dq=np.zeros((2048, 2048), np.uint32)).save(reference)
    before = reference.read_bytes()
    step = registry.find("dq_init")()
    step.output_dir, step.override_mask = str(tmp_path), str(reference)
    outcome = calibrate(replace(job, path=raw, step=step))
    assert "a_dq_init.fits: the product would overwrite the reference" in outcome.error
    assert reference.read_bytes() == before


def test_a_product_must_not_overwrite_the_input(job, tmp_path):
    raw = tmp_path / "a_rate.fits"
    raw.write_bytes(job.path.read_bytes())
    step = Plain()
    step.output_dir, step.suffix = str(tmp_path), "rate"
    outcome = calibrate(replace(job, path=raw, step=step))
    assert "the product would overwrite the input" in outcome.error


def test_checksums_of_inputs_are_verified_on_request(job, tmp_path):
    (product,) = calibrate(job).products  # which has checksums
    content = bytearray(product.read_bytes())
    content[content.index(b"XTENSION") + 2 * 2880] ^= 0xFF
    damaged = tmp_path / "damaged_uncal.fits"
    damaged.write_bytes(content)
    outcome = calibrate(replace(job, path=damaged, options=ExposureOptions(verify_inputs=True)))
    assert "DATASUM" in outcome.error


def test_an_attempt_whose_staging_folder_is_removed_is_lost(job, tmp_path):
    outcome = calibrate(replace(job, staging=tmp_path / "removed"))
    assert outcome.kind is FailureKind.LOST
    assert outcome.error == f"{job.path}: was meanwhile given to another worker"
    assert products(job) == []


def test_products_are_published_out_of_the_staging_folder(job, tmp_path):
    staging = tmp_path / "out" / "staging"
    staging.mkdir()
    outcome = calibrate(replace(job, staging=staging))
    assert not outcome.failed
    assert list(staging.iterdir()) == []


def test_a_log_exists_only_during_the_attempt(job, tmp_path):
    calibrate(replace(job, log=tmp_path / "log"))
    assert not (tmp_path / "log").exists()


def test_a_pickled_job_calibrates_the_same(job):
    copied = pickle.loads(pickle.dumps(job))
    assert copied.path == job.path
    assert not calibrate(copied).failed
    with pytest.raises(AttributeError):
        copied.nonsense  # noqa: B018


def test_products_are_built_lazily_with_their_paths(job):
    ((model, path),) = build_products(job)
    assert isinstance(model, RampModel)
    assert not path.exists()


def test_options_become_settings_of_dask():
    assert ExposureOptions().dask_config() == {}
    options = ExposureOptions(tile_rows=8, tile_bytes=100)
    assert options.dask_config() == {"calbatch.tile-rows": 8, "calbatch.tile-bytes": 100}


@pytest.mark.parametrize("threads", [0, 2])
def test_the_digest_of_the_input_is_made_while_its_pixels_are_read(job, monkeypatch, threads):
    pixels = read_layout(job.path).hdus[1]
    positions = []
    find_begun = local_files._find_begun

    def note(*arguments):
        digest, position = find_begun(*arguments)
        positions.append(position)
        return digest, position

    monkeypatch.setattr(local_files, "_find_begun", note)
    monkeypatch.setattr(passing_digests, "LARGEST_GAP", pixels.data_offset)  # the headers
    outcome = calibrate(job, threads)
    assert outcome.content == f"xxh128:{xxhash.xxh128_hexdigest(job.path.read_bytes())}"
    assert positions == [pixels.data_offset + math.prod(pixels.shape) * pixels.dtype.itemsize]
