"""Plots without pyplot, and of models that have nothing to plot."""

import subprocess
import sys

import numpy as np
import pytest
from support.plots import make_image

from calbatch.models import datamodels
from calbatch.models.errors import ModelError

PROGRAM = """
import sys
import calbatch

calbatch.plot
model = calbatch.datamodels.ImageModel((3, 4))
print("matplotlib" in sys.modules)
model.plot()
calbatch.plot(model, model)
print("matplotlib.figure" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""


def test_matplotlib_is_imported_by_plots_alone_and_pyplot_never():
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert found == ["False", "True", "False"]


def test_notebooks_display_the_figure_as_an_image():
    assert make_image().plot()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["ImageModel", "SpecModel", "MultiSpecModel", "EmiModel"])
def test_a_model_without_pixels_has_nothing_to_plot(name):
    model = getattr(datamodels, name)()
    with pytest.raises(ModelError, match=rf"{name}: has no 'data' to plot; it has no arrays"):
        model.plot()


SCHEMA = """
type: object
properties:
  data: {title: Values, fits_hdu: SCI, datatype: float32}
"""


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 1, 4, 5), "data has 5 axes; plots have at most 4"),
        ((7,), "data is not an image: it has no rows and columns"),
    ],
)
def test_arrays_that_are_no_images_are_not_drawn(shape, message, tmp_path):
    path = tmp_path / "any.schema.yaml"
    path.write_text(SCHEMA)
    model = datamodels.DataModel(np.zeros(shape, "f4"), schema=path)
    with pytest.raises(ModelError, match=message):
        model.plot()
