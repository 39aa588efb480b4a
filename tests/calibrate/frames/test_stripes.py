"""Stripes: the rows that they have, as jwst finds them, and their layouts."""

from types import SimpleNamespace

import numpy as np
import pytest
from jwst.lib import stripe_utils
from support.striped import MODES, raw_model

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.frames.stripes import (
    KEYWORDS,
    cut_to_stripes,
    is_stack,
    restore_file_layout,
    stack_stripes,
    stripes_of,
)
from calbatch.calibrate.frames.subarray import cut_to_exposure
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import Level1bModel, MaskModel, SuperstripeRampModel


def jwst_model(model):
    """Return the metadata of a model that jwst's functions read."""
    place = SimpleNamespace(**dict(model.meta.subarray.items()))
    return SimpleNamespace(meta=SimpleNamespace(subarray=place))


def detector_rows(stripes):
    """Return the detector's row of each row of the stripes' arrays, along the slow axis."""
    return [
        np.concatenate([np.arange(r.detector, r.detector + r.rows) for r in reads])
        for reads in stripes.reads
    ]


@pytest.mark.parametrize("mode", MODES)
def test_rows_are_those_that_jwst_reads(mode):
    model = raw_model(mode)
    found = stripes_of(model)
    ranges = stripe_utils.generate_superstripe_ranges(jwst_model(model))
    assert found.count == len(ranges["full"])
    for number, rows in enumerate(detector_rows(found)):
        wanted = np.full(rows.size, -1)
        for kind in ("", "reference_"):
            places = zip(
                ranges[f"{kind}full"][number],
                ranges[f"{kind}{'subarray'}"][number],
                strict=True,
            )
            for (first, last), (start, stop) in places:
                wanted[start:stop] = np.arange(first, last)
        assert np.array_equal(rows, wanted)


@pytest.mark.parametrize("mode", MODES)
def test_references_are_cut_as_by_jwst(mode):
    model = raw_model(mode)
    stripes = stripes_of(model)
    slow, fast = 2048, stripes.orientation.slow_and_fast(stripes.shape)[1]
    frame = stripes.orientation.slow_and_fast((slow, fast))
    numbers = np.arange(slow * fast, dtype="u4").reshape(frame)
    cut = cut_to_stripes(MaskModel(dq=numbers), stripes, stripes.fast_start)
    wanted = stripe_utils.generate_stripe_reference(numbers, jwst_model(model))
    assert np.array_equal(np.asarray(cut.dq), wanted.reshape(stripes.stack))


def test_other_exposures_have_no_stripes():
    model = raw_model("multistripe")
    for name in KEYWORDS:
        model[f"meta.subarray.{name}"] = None
    assert stripes_of(model) is None
    model.meta.subarray.num_superstripe = 0
    assert stripes_of(model) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multistripe_skips1": None}, "lacks MSTR_SK1"),
        ({"num_superstripe": None}, "lacks SSTR_NST"),
        ({"multistripe_reads2": 39}, "rows, but the array has 164 along its slow axis"),
        ({"multistripe_reads2": 0}, "describe have 0 rows"),
        ({"multistripe_skips1": 2000}, "rows 2126 to 2165 of the detector, which has 2048"),
        ({"fastaxis": 2}, "must be two axes"),
        ({"multistripe_reads1": None}, "lacks MSTR_RD1"),
        ({"num_superstripe": -1}, "SSTR_NST must be 0 to 2048, is -1"),
        ({"num_superstripe": 10**9}, "SSTR_NST must be 0 to 2048, is 1000000000"),
        ({"num_superstripe": 3, "superstripe_step": 0}, "SSTR_STP must be positive, is 0: the 3"),
        ({"ysize": 10**9, "multistripe_reads2": 1}, "slow axis must be 1 to 2048, is 1000000000"),
    ],
)
def test_impossible_stripes_are_rejected(changes, message):
    model = raw_model("multistripe")
    for name, value in changes.items():
        model[f"meta.subarray.{name}"] = value
    with pytest.raises(StepError, match=message):
        stripes_of(model)


@pytest.mark.parametrize("rows", [144, 169])
def test_an_array_with_other_rows_than_its_stripes_is_rejected(rows):
    model = raw_model("multistripe")
    other = Level1bModel(np.resize(np.asarray(model.data), (1, 3, rows, 12)))
    other.update(model)
    message = f"stripes have 164 rows and 12 columns .*, but the array has {rows} rows and 12"
    with pytest.raises(StepError, match=message):
        as_ramp(other)


def test_integrations_that_are_not_whole_are_rejected():
    model = raw_model("columns")
    part = Level1bModel(np.asarray(model.data)[:4])
    part.update(model)
    with pytest.raises(StepError, match=r"multiple of 3 integrations .* has 4 of 12 rows"):
        as_ramp(part, before_refpix=True)


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_a_stack_holds_each_stripe_and_is_presented_as_the_file_was(mode):
    raw = raw_model(mode, zero_frame=True)
    stripes = stripes_of(raw)
    stack = as_ramp(raw, before_refpix=True)
    assert is_stack(stack, stripes)
    data, rows = np.asarray(raw.data), stripes.shape[0]
    for number in range(stripes.count):
        found = np.asarray(stack.data)[..., number * rows : (number + 1) * rows, :]
        assert np.array_equal(found, data[number :: stripes.count])
    assert stack_stripes(stack, stripes) is stack
    shown = restore_file_layout(stack)
    assert type(shown) is SuperstripeRampModel
    assert np.array_equal(np.asarray(shown.data), data)
    assert np.array_equal(np.asarray(shown.zeroframe), np.asarray(raw.zeroframe))


def test_flags_of_each_stripe_survive():
    raw = raw_model("columns")
    stripes = stripes_of(raw)
    flags = np.arange(stripes.count * np.prod(stripes.shape), dtype="u4")
    flags = flags.reshape(stripes.count, *stripes.shape)
    model = SuperstripeRampModel(np.asarray(raw.data, "f4"), pixeldq=flags)
    model.update(raw)
    stack = as_ramp(model, before_refpix=True)
    assert np.array_equal(np.asarray(stack.pixeldq), flags.reshape(stripes.stack))
    assert np.array_equal(np.asarray(restore_file_layout(stack).pixeldq), flags)


def test_a_ramp_without_stripes_is_presented_unchanged():
    ramp = as_ramp(raw_model("multistripe"))
    assert restore_file_layout(ramp) is ramp
    assert restore_file_layout("anything") == "anything"


def reference(rows, columns):
    """Return a reference from the image's first row and column on."""
    model = MaskModel(dq=np.zeros((rows, columns), "u4"))
    model.meta.instrument.name = "NIRCAM"
    place = model.meta.subarray
    place.xstart = place.ystart = 1
    place.ysize, place.xsize = rows, columns
    return model


@pytest.mark.parametrize("shape", [(2047, 2048), (2048, 2040)])
def test_a_reference_must_have_all_rows_and_the_columns_of_the_stripes(shape):
    ramp = as_ramp(raw_model("rows"), before_refpix=True)
    with pytest.raises(ReferenceFileError, match=r"stripes need all 2048 rows .* from 2037 on"):
        cut_to_exposure(ramp, reference(*shape))


def test_a_reference_of_the_same_rows_is_used_unchanged():
    ramp = as_ramp(raw_model("multistripe"))
    same = reference(*ramp.frame)
    same.meta.subarray.ystart, same.meta.subarray.xstart = 1, 2037
    assert cut_to_exposure(ramp, same) is same
