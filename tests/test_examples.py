"""The steps shown in the pages behave as described."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from support.simulated import small_exposure

from calbatch.models import dq
from calbatch.models.datamodels import FlatModel, ImageModel, RampModel

ROOT = Path(__file__).resolve().parents[1]


def import_example(page, text, folder):
    """Import the Python block of a page that contains a text, as a user's module."""
    found = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    [block] = [b for b in found if text in b]
    path = folder / "users_module.py"
    path.write_text(block)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    imported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imported)
    return imported


@pytest.fixture(scope="module")
def exposure():
    return small_exposure("NRCA1", shape=(24, 32), ngroups=3)


def test_a_step_with_a_reference(exposure, tmp_path):
    example = import_example("docs/own_steps.md", "class SubtractSky", tmp_path)
    flat = exposure.reference("flat")
    ramp = RampModel(exposure.path)
    ramp.pixeldq = np.eye(24, 32, dtype="u4") * dq.DO_NOT_USE
    result = example.SubtractSky.call(ramp, level=12.5, override_flat=str(flat))
    expected = np.asarray(ramp.data) - np.float32(12.5) * np.asarray(FlatModel(flat).data)
    expected[..., np.eye(24, 32, dtype=bool)] = np.nan
    np.testing.assert_array_equal(result.data, expected)


def test_a_step_of_a_few_lines(tmp_path):
    example = import_example("README.md", "class SubtractSky", tmp_path)
    image = ImageModel(np.full((4, 5), 3.0, "f4"))
    np.testing.assert_array_equal(example.SubtractSky(level=1.0).run(image).data, 2.0)
