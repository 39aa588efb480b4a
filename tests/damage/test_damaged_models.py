"""Damage to files of arrays, tables and lists gives a clear error or data, and nothing else.

The default suite runs a seeded sample. For a long run::

    CALBATCH_DAMAGE_CASES=40000 pytest -n 0 -m slow tests/damage/test_damaged_models.py -rP
"""

import hashlib
import os
import warnings
from functools import partial

import numpy as np
import pytest
from support import damage
from support.damaged import Refused, Subject, World, forbidden_outcomes

from calbatch.models import datamodels
from calbatch.models.errors import ModelError

SAMPLE = 120
LONG = int(os.environ.get("CALBATCH_DAMAGE_CASES", "3000"))
START = 1000
SHAPE = (4, 6)
FIELDS = ("data", "dq", "err")
ROWS = 20


def read_model(cls, path):
    """Open a file, show it, and return a digest of all of its arrays and tables.

    A warning names the damage as an error does.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            repr(datamodels.open(path))  # whose class follows from the damaged header
            digest = digest_of(cls(path))
        except ModelError as error:
            if "\n" in str(error):
                raise
            raise Refused(str(error)) from error
    if caught:
        raise Refused(str(caught[0].message))
    return digest


def digest_of(model):
    total = hashlib.sha256()
    items = [item for name in model.schema.lists for item in getattr(model, name)]
    for part in (model, *items):
        part.validate()
        for name in part.schema.fields:
            if part.has(name):
                total.update(name.encode() + np.asarray(getattr(part, name)).tobytes())
    return total.hexdigest()


def fill(model, number):
    """Set arrays of a model or item, which differ from those of other numbers."""
    for name in FIELDS:
        array = np.arange(24).reshape(SHAPE) + number
        setattr(model, name, array.astype(model.schema.fields[name].dtype))


def fill_table(model, number):
    """Set the table of a spectrum, which differs from those of other numbers."""
    columns = model.schema.fields["spec_table"].columns
    table = np.zeros(ROWS, [(column.name, column.dtype) for column in columns])
    table["WAVELENGTH"], table["FLUX"] = np.arange(ROWS), number
    model.spec_table = table


@pytest.fixture
def world(tmp_path):
    image = datamodels.ImageModel()
    fill(image, 1)
    spectrum = datamodels.SpecModel()
    fill_table(spectrum, 1)
    slits = datamodels.MultiSlitModel()
    spectra = datamodels.MultiSpecModel()
    for number in range(3):
        fill(slits.slits.add(name=f"S{number}", source_id=number), number)
        fill_table(spectra.spec.add(name=f"S{number}"), number)
    made = World(tmp_path)
    models = {"image": image, "table": spectrum, "slits": slits, "spectra": spectra}
    for name, model in models.items():
        model.meta.instrument.name = "NIRSPEC"
        path = model.save(tmp_path / f"{name}.fits", fsync=False)
        door = partial(read_model, type(model), path)
        made.subjects[name] = Subject(name, path, damage.FITS, door)
    return made


def test_a_sample_of_damage_to_models(world):
    assert forbidden_outcomes(world, SAMPLE) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_thousands_of_damages_to_models(world):
    assert forbidden_outcomes(world, LONG, START) == []
