"""Files saved with a template are those that are saved without."""

import dask
import numpy as np
import pytest

from calbatch.calibrate.steps.group_scale import scale_groups
from calbatch.models import datamodels
from calbatch.models.errors import ModelError
from calbatch.models.saving import build_saving_graph, save_result
from calbatch.models.storage.files import read_stamp
from calbatch.models.templates import header_template
from calbatch.models.templates.kinds import detach, make_blank
from calbatch.models.templates.saving_template import SavingTemplate
from calbatch.models.templates.template import Template

DATE = "2026-01-02T03:04:05.000"
TITLES = ("short", "it's", "x" * 150, "a title that is longer than some cards")


def write(path, number):
    """Write an image with metadata and cards of its own."""
    model = datamodels.ImageModel(np.full((64, 16), number, "f4"))
    model.dq = np.arange(64 * 16, dtype="u4").reshape(64, 16)
    model.meta.program.title = TITLES[number]
    model.meta.target.ra = number / 3
    model.meta.wcsinfo.crval1 = -number * 1e-7
    model.set_card("MINE", "y" * (5 * number + 1), "of its own")
    model.history = ["simulated"]
    model.save(path)
    return datamodels.open(path)


def derive(model):
    """Return two products of an image."""
    scaled = model.map_tiles(scale_groups, ["data"], factor=3.0)
    scaled.meta.cal_step.flat_field = "COMPLETE"
    return [scaled, scaled.map_tiles(scale_groups, ["data"], factor=0.5)]


def save(models, folder, model, template=None):
    """Save products with their statistics, and return the bytes of the files, and the result."""
    folder.mkdir(exist_ok=True)
    pairs = [(m, folder / f"{model.path.stem}{n}.fits") for n, m in enumerate(models)]
    graph, _ = build_saving_graph(
        pairs, date=DATE, fsync=False, before_naming=lambda: "last", with_statistics=True,
        template=template,
    )  # fmt: skip
    result = save_result(graph.run() if template else graph.compute(scheduler="sync"))
    return [path.read_bytes() for _, path in pairs], result


def prepare(model):
    return detach(model, read_stamp(model.path), lambda path: path.startswith("meta.exposure."))


@pytest.fixture
def made(tmp_path):
    """Return the models of four files, and the templates that the first of them gives."""
    models = [write(tmp_path / f"{number}.fits", number) for number in range(4)]
    kind, parts = prepare(models[0])
    consulted = set()
    blank = derive(make_blank(kind, consulted))
    products = Template(blank)
    pairs = [(m, tmp_path / "s.fits") for m in products.fill(parts)]
    with dask.config.set({"calbatch.tile-rows": 24}):
        saving = SavingTemplate(blank, pairs, parts)
    assert consulted == set()
    return models, products, saving


def test_files_and_statistics_are_those_without_a_template(tmp_path, made):
    models, products, saving = made
    for model in models:
        _, parts = prepare(model)
        filled = products.fill(parts)
        found, result = save(filled, tmp_path / "with", model, saving.fill(parts))
        wanted, other = save(derive(model), tmp_path / "without", model)
        assert found == wanted
        assert [*result.statistics.values()] == [*other.statistics.values()]
        assert result.remark == other.remark == "last"
        assert [p.digest for p in result.products] == [p.digest for p in other.products]


def test_tiles_are_those_of_the_template(tmp_path, made):
    models, products, saving = made
    _, parts = prepare(models[1])
    pairs = [(m, tmp_path / f"t{n}.fits") for n, m in enumerate(products.fill(parts))]
    graph, writers = build_saving_graph(
        pairs, fsync=False, with_statistics=True, template=saving.fill(parts)
    )
    (task,) = graph.layer.tasks
    # Each of the three tiles passes the first product on its way to the second.
    assert {result.position for result in task.inputs} == {0, 1, 2}
    for writer in writers:
        writer.abort()


def test_no_headers_are_made_if_a_value_cannot_be_written(tmp_path, made):
    models, _, saving = made
    _, parts = prepare(models[1])
    make_headers = saving.fill(parts).make_headers
    assert make_headers(0, models[1], tmp_path / "s.fits", DATE) is not None
    parts.values["meta", "meta.target.ra"] = float("nan")
    assert make_headers(0, models[1], tmp_path / "s.fits", DATE) is None


def test_arrays_without_tiles_have_no_template(tmp_path, made):
    models, _, _ = made
    kind, parts = prepare(models[0])
    blank = make_blank(kind, set())
    blank._content.node = None
    with pytest.raises(ModelError, match="without tiles"):
        SavingTemplate([blank], [(models[0], tmp_path / "s.fits")], parts)


def test_a_template_needs_statistics(tmp_path, made):
    models, products, saving = made
    _, parts = prepare(models[1])
    pairs = [(m, tmp_path / f"t{n}.fits") for n, m in enumerate(products.fill(parts))]
    with pytest.raises(ModelError, match="two sinks"):
        build_saving_graph(pairs, fsync=False, template=saving.fill(parts))
    assert not [*tmp_path.glob(".*")]


def test_metadata_that_name_the_file_have_no_template(tmp_path, made):
    models, _, _ = made
    kind, parts = prepare(models[0])
    for name in ("history", "extra", "meta"):
        blank = make_blank(kind, set())
        match name:
            case "history":
                blank.history.append(f"made of {blank.path}")
            case "extra":
                blank.extra["PRIMARY"] = [("COMMENT", f"made of {blank.path}", "")]
            case "meta":
                blank.meta.program.title = f"{blank.path}"
        with pytest.raises(ModelError, match="name the exposure's file"):
            SavingTemplate([blank], [(models[0], tmp_path / "s.fits")], parts)


def test_a_header_that_the_template_does_not_make_alike_is_noticed(tmp_path, made, monkeypatch):
    models, _, _ = made
    kind, parts = prepare(models[0])
    monkeypatch.setattr(header_template, "cut_comment", lambda value, comment: "")
    with pytest.raises(ModelError, match="has no template"):
        SavingTemplate([make_blank(kind, set())], [(models[0], tmp_path / "s.fits")], parts)
