"""Damage to references that hold trees gives a clear error or data, and nothing else.

The default suite runs a seeded sample. For a long run::

    CALBATCH_DAMAGE_CASES=30000 pytest -n 0 -m slow tests/damage/test_damaged_trees.py -rP
"""

import os

import numpy as np
import pytest
from support import damage
from support.damaged import Refused, Subject, World, forbidden_outcomes

from calbatch.models import datamodels
from calbatch.models.asdf.asdf_file import StoredArray
from calbatch.models.asdf.tagged import TaggedValue
from calbatch.models.errors import ModelError

SAMPLE = 120
LONG = int(os.environ.get("CALBATCH_DAMAGE_CASES", "3000"))
START = 1000


def read_tree(path):
    """Open a file, read its arrays, and return all that it holds as text."""
    try:
        model = datamodels.open(path)
        repr(model)
        return str(plain(model._content.tree))
    except ModelError as error:
        if "\n" in str(error):
            raise
        raise Refused(str(error)) from error


def plain(value):
    if isinstance(value, StoredArray):
        return value.load().tolist()
    if isinstance(value, TaggedValue):
        return value.tag, plain(value.value)
    if isinstance(value, dict):
        return {name: plain(below) for name, below in value.items()}
    return [plain(below) for below in value] if isinstance(value, list) else value


@pytest.fixture
def world(tmp_path):
    tilt = TaggedValue("tag:stsci.edu:asdf/transform/shift-1.4.0", {"offset": np.arange(3.0)})
    prism = datamodels.DisperserModel(angle=16.5, gwa_tiltx={"tilt_model": tilt, "unit": "rad"})
    waves = {"Hz390": {"frequency": 390.625, "phase_amplitudes": np.arange(50.0)}}
    emi = datamodels.EmiModel(frequencies=waves, subarray_cases={"FULL": {"rowclocks": 271}})
    shutters = datamodels.MSAOperModel(msaoper=[{"Q": 1, "x": 2, "y": 3, "state": "closed"}])
    made = World(tmp_path)
    for reference_type, model in (("disperser", prism), ("emicorr", emi), ("msaoper", shutters)):
        model.meta.reftype = reference_type
        form = model.schema.stored_as
        path = model.save(tmp_path / f"{reference_type}.{form}")
        mutators = damage.JSON if form == "json" else (*damage.ANY, damage.pack, *damage.ASDF)
        made.subjects[reference_type] = Subject(
            reference_type, path, mutators, lambda p=path: read_tree(p)
        )
    return made


def test_a_sample_of_damage_to_trees(world):
    assert forbidden_outcomes(world, SAMPLE) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_thousands_of_damages_to_trees(world):
    assert forbidden_outcomes(world, LONG, START) == []
