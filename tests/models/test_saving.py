"""Saving models to files."""

import dask
import numpy as np
import pytest
from astropy.io import fits

from calbatch.models import datamodels
from calbatch.models.errors import FileError, ModelError, ValidationError, ValidationWarning
from calbatch.models.fits.layout import read_layout
from calbatch.models.saving import build_saving_graph, build_writer, save, save_result

DATE = "2026-01-02T03:04:05.000"


def image():
    return datamodels.ImageModel(np.arange(48, dtype="f4").reshape(8, 6))


def refuse(data):
    raise ValueError("no")


@pytest.mark.parametrize("ending", ["gz", "fz", "bz2", "GZ"])
def test_a_compressed_name_is_refused(tmp_path, ending):
    model = datamodels.ImageModel((3, 4))
    with pytest.raises(FileError, match=rf"x\.fits\.{ending}: .*save as x\.fits and compress"):
        model.save(tmp_path / f"x.fits.{ending}")
    assert list(tmp_path.iterdir()) == []


def test_a_required_array_must_be_there(tmp_path):
    model = datamodels.ImageModel(err=np.ones((8, 6)))
    with pytest.raises(ValidationError, match=r"e\.fits: ImageModel has no data"):
        model.save(tmp_path / "e.fits")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *((datamodels.ImageModel((8, 6)), name) for name in ("err", "dq", "var_flat")),
        (datamodels.CubeModel((2, 8, 6)), "var_rnoise"),
        *((datamodels.RampModel((2, 3, 8, 6)), name) for name in ("pixeldq", "groupdq")),
        *((datamodels.RampModel((2, 3, 8, 6)), name) for name in ("zeroframe", "refout")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_array_of_another_shape_than_the_one_it_describes_is_not_saved(tmp_path, model, name):
    """The file could not be opened, or would be opened without the array."""
    found = (1,) * (model.schema.fields[name].ndim or len(model.shape))
    setattr(model, name, np.ones(found, "u1"))
    with pytest.raises(ValidationError) as caught:
        model.save(tmp_path / "s.fits")
    start = f"{tmp_path}/s.fits: {name} has the shape {found}, and data has {model.shape}; "
    assert str(caught.value).startswith(start)
    assert list(tmp_path.iterdir()) == []


def test_models_of_one_plan_are_saved_together(tmp_path):
    first = image()
    second = first.copy()
    second.data = -second.data
    paths = [tmp_path / name for name in ("a.fits", "b.fits")]
    result = save(list(zip((first, second), paths, strict=True)), date=DATE)
    assert [product.path for product in result.products] == [str(path) for path in paths]
    assert [product.digest for product in result.products] == [
        read_layout(path).digest for path in paths
    ]
    np.testing.assert_array_equal(fits.getdata(paths[1]), -fits.getdata(paths[0]))


def test_nothing_is_left_over_if_a_kernel_fails(tmp_path):
    model = image().map_tiles(refuse, ["data"])
    with pytest.raises(ValueError, match="no"):
        save([(model, tmp_path / "a.fits")], scheduler="sync")
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_named_if_the_last_check_fails(tmp_path):
    def refuse():
        raise ModelError("superseded")

    graph, writers = build_saving_graph([(image(), tmp_path / "a.fits")], before_naming=refuse)
    with pytest.raises(ModelError, match="superseded"):
        dask.compute(graph, scheduler="sync")
    assert not (tmp_path / "a.fits").exists()
    for writer in writers:
        writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_the_result_has_the_remark_of_the_last_check(tmp_path):
    graph, _ = build_saving_graph([(image(), tmp_path / "a.fits")], before_naming=lambda: "fine")
    assert save_result(dask.compute(graph, scheduler="sync")[0]).remark == "fine"


def test_the_date_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    image().save(tmp_path / "a.fits")
    assert fits.getval(tmp_path / "a.fits", "DATE") == "1970-01-01T00:00:00.000"


def test_metadata_without_a_keyword_are_dropped_with_a_warning(tmp_path):
    model = image()
    model.meta.background.polynomial_info.append({"degree": [1]})
    with pytest.warns(ValidationWarning, match="polynomial_info has no FITS keyword"):
        model.save(tmp_path / "a.fits")


def test_the_temporary_file_is_in_the_staging_folder(tmp_path):
    staging = tmp_path / "staging"
    staging.mkdir()
    writer = build_writer(image(), tmp_path / "a.fits", tag="mine", staging=staging)
    assert writer.temporary.parent == staging
    assert "mine" in writer.temporary.name


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileError, match=r"a\.fits: cannot be written: its folder does not exist"):
        image().save(tmp_path / "absent" / "a.fits")
    assert list(tmp_path.iterdir()) == []
