"""Parameters that name products are checked before anything is planned."""

from pathlib import Path

import pytest

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.products import product_paths
from calbatch.cluster.batch.product_names import require_product_names
from calbatch.cluster.errors import RequestError
from calbatch.models.datamodels import RampModel


def pipeline(**sections):
    step = Detector1Pipeline()
    step.configure({"": sections.pop("own", {}), **sections}, "a test")
    return step


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"own": {"suffix": "../../x"}}, r"suffix = '\.\./\.\./x': must not have slashes"),
        ({"own": {"suffix": "x\n"}}, r"suffix = 'x\\n': must not have .* control characters"),
        ({"jump": {"suffix": "a/b"}}, r"jump\.suffix = 'a/b': must not have slashes"),
        ({"own": {"output_file": "a/b.fits"}}, r"output_file = 'a/b\.fits': .* folder with -o"),
        ({"jump": {"output_file": "mine"}}, r"jump\.output_file = 'mine': .* jump\.suffix changes"),
        ({"jump": {"output_dir": "there"}}, r"jump\.output_dir = 'there': .* choose it with -o"),
    ],
)
def test_parameters_that_would_be_ignored_or_lead_elsewhere_are_refused(sections, message):
    with pytest.raises(RequestError, match=message):
        require_product_names(pipeline(**sections))


@pytest.mark.parametrize(
    ("sections", "product"),
    [
        ({}, "a_jump.fits"),
        ({"own": {"suffix": "c1d_lin", "output_file": "mine.fits"}}, "a_jump.fits"),
        ({"jump": {"suffix": "x", "output_dir": ""}}, "a_x.fits"),
        ({"own": {"output_dir": "b"}, "jump": {"output_dir": "b", "suffix": "x"}}, "b/a_x.fits"),
    ],
)
def test_other_parameters_name_the_products_of_a_step(sections, product):
    step = pipeline(**sections)
    require_product_names(step)
    model = RampModel()
    model.meta.filename = "a_uncal.fits"
    suffix = step.jump.suffix or step.jump.name
    assert product_paths(step.jump, [(suffix, model)]) == [Path(product)]
