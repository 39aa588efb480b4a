"""The parts of reference files."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import Noise, SimulationSpec
from calbatch.calibrate.simulate.maps import make_maps
from calbatch.calibrate.simulate.readout_plan import plan_readout
from calbatch.calibrate.simulate.reference_parts import (
    BAD_GAIN,
    BAD_LINEARITY,
    Setting,
    encode_flags,
    exposure_type,
    make_reference,
    wheels,
)
from calbatch.calibrate.simulate.write import Extension


def setting(**fields):
    fields = {"subarray": "GENERIC", "shape": (64, 64), "corner": (1, 1), **fields}
    spec = SimulationSpec("NIS", **fields)
    readout = plan_readout(spec)
    return Setting(spec, readout, make_maps(readout.detector, readout.frame, spec.noise, 1), 1)


def test_flags_are_bits_in_their_order():
    masks = {"DEAD": np.array([[True, False]]), "HOT": np.array([[True, True]])}
    dq, definition = encode_flags(masks)
    assert dq.data.tolist() == [[3, 2]]
    assert definition.data["VALUE"].tolist() == [1, 2]
    assert definition.data["NAME"].tolist() == [b"DEAD", b"HOT"]


def test_bad_pixels_differ_between_references():
    made = setting(noise=Noise(bad_references=0.05))
    gain, linearity = made.bad_pixels(BAD_GAIN), made.bad_pixels(BAD_LINEARITY)
    assert gain.mean() == pytest.approx(0.05, abs=0.02)
    assert (gain != linearity).any()
    assert not (made.all_bad_pixels() & made.maps.reference).any()
    assert ((gain | linearity) <= made.all_bad_pixels()).all()


def test_wheels_and_exposure_type_have_defaults():
    made = SimulationSpec("NIS", filter="GR150C")
    assert wheels(made) == {"FILTER": "GR150C", "PUPIL": "F150W"}
    assert exposure_type(made) == "NIS_IMAGE"
    assert exposure_type(SimulationSpec("NIS", exposure_type="NIS_AMI")) == "NIS_AMI"


def test_a_reference_applies_to_its_subarray():
    made = setting()
    extensions = [Extension("SCI", made.maps.gain)]
    reference = make_reference(made, "gain", "GainModel", extensions, READPATT="NIS")
    cards = {keyword: value for keyword, value, _ in reference.cards}
    assert reference.keys == {"DETECTOR": "NIS", "SUBARRAY": "GENERIC", "READPATT": "NIS"}
    assert (cards["SUBSIZE1"], cards["SUBSTRT1"], cards["REFTYPE"]) == (64, 1, "GAIN")
    assert (reference.ngroups, reference.without_data().extensions) == (0, [])
    assert not made.is_general
