"""An exposure calibrated from bucket to bucket has the same bits as a local one."""

from pathlib import Path

import numpy as np
import pytest
from support.s3 import moto_server, plain_s3, use_endpoint
from support.simulated import offline, small_exposure

from calbatch.calibrate import products
from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.models import datamodels, saving
from calbatch.models.storage.location import location

# a warning of botocore on some Python versions
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

DATE = "2026-01-01T00:00:00.000"


@pytest.fixture(scope="module")
def exposure():
    return small_exposure("NRCA1", shape=(48, 64), nints=2, ngroups=6)


@pytest.fixture
def files(exposure, monkeypatch, tmp_path):
    """Yield a bucket that contains the exposure."""
    with moto_server() as endpoint:
        use_endpoint(monkeypatch, endpoint)
        monkeypatch.setenv("CALBATCH_SCRATCH_DIR", str(tmp_path))
        found = plain_s3(endpoint)
        found.mkdir("bucket")
        found.put_file(str(exposure.path), f"bucket/raw/{exposure.path.name}")
        with offline(exposure.set):
            yield found


def calibrate(raw, folder, **parameters):
    """Calibrate like a batch, with a fixed date; return the written products."""
    step = Detector1Pipeline.from_config(None, {"output_dir": str(folder), **parameters})
    step.save_results = True
    step.run_lazily(datamodels.open(raw))
    made = step.products()
    pairs = [(m, p) for (_, m), p in zip(made, products.product_paths(step, made), strict=True)]
    return saving.save(pairs, date=DATE).products


def test_from_bucket_to_bucket_is_bit_identical(files, exposure, tmp_path):
    parameters = {"save_calibrated_ramp": True, "steps": {"ramp_fit": {"save_opt": True}}}
    local = calibrate(exposure.path, tmp_path, **parameters)
    remote = calibrate(f"s3://bucket/raw/{exposure.path.name}", "s3://bucket/out", **parameters)
    names = [Path(product.path).name for product in local]
    assert len(names) == 4
    assert [product.path for product in remote] == [f"s3://bucket/out/{n}" for n in names]
    assert sorted(files.find("bucket/out")) == sorted(f"bucket/out/{n}" for n in names)
    for name in names:
        assert files.cat_file(f"bucket/out/{name}") == (tmp_path / name).read_bytes()


def test_products_are_written_beside_their_exposure(files, exposure):
    raw = f"s3://bucket/raw/{exposure.path.name}"
    result = Detector1Pipeline.call(raw, save_results=True)
    assert str(result[0].path) == raw
    rate = location(raw).with_name(exposure.path.name.replace("_uncal", "_rate"))
    found = datamodels.open(rate)
    assert isinstance(found, datamodels.ImageModel)
    assert np.array_equal(found.data.compute(), result[0].data.compute(), equal_nan=True)


def test_two_products_of_the_same_name_are_rejected(exposure):
    model = datamodels.open(exposure.path)
    step = Detector1Pipeline.from_config(None, {"output_dir": "s3://bucket/out"})
    with pytest.raises(StepError, match="two products would be called"):
        products.product_paths(step, [("rate", model), ("rate", model)])
