"""Kernels are compiled by calibrating a few rows."""

import threading

import numba
import pytest
from support.agreement_kinds import STRIPED
from support.simulated import offline, small_exposure

from calbatch.calibrate import warm
from calbatch.calibrate.chain import make_chain
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import CrdsReferences, ResolvedReferences
from calbatch.calibrate.steps.flat_field import FlatFieldStep
from calbatch.models.datamodels import RampModel


def test_other_threads_may_compile_during_a_trial():
    faults = []

    def compile_own():
        try:
            faults.append(numba.njit(lambda value: value + 1)(1))
        except BaseException as error:
            faults.append(error)

    with warm.refuse_compilation():
        other = threading.Thread(target=compile_own)
        other.start()
        other.join()
        with pytest.raises(warm.CompilationNeededError):
            numba.njit(lambda value: value + 2)(1)
    assert faults == [2]


def test_rare_kernels_are_compiled_where_parameters_ask_for_them():
    names = {}
    for value in (False, True):
        step = Detector1Pipeline()
        step.configure({"jump": {"find_showers": value}}, "test")
        names[value] = {module.__name__ for module in warm.kernel_modules(step)}
    rare = {"calbatch.calibrate.steps.jump." + name for name in ("emission", "rings", "showers")}
    assert names[True] - names[False] >= rare
    step.jump.skip = True
    assert {module.__name__ for module in warm.kernel_modules(step)} & rare == set()


def test_a_trial_with_noise_of_the_whole_frame_comes_to_its_end():
    exposure = small_exposure("NRCA1", shape=(32, 32), ngroups=4)
    step = Detector1Pipeline()
    step.configure({"clean_flicker_noise": {"skip": False}}, "test")
    with offline(exposure.set):
        warm.run_kernels(step, RampModel(exposure.path), CrdsReferences())
        with warm.refuse_compilation():  # nothing is left to compile
            warm.run_kernels(step, RampModel(exposure.path), CrdsReferences())
    assert warm.list_parts(step, "NIRCAM")[-2:] == ["ramp_fit", "gain_scale"]


def test_the_parts_of_a_chain_are_the_steps_of_its_pipelines():
    chain = make_chain((Detector1Pipeline, FlatFieldStep))()
    parts = warm.list_parts(chain, "NIRCAM")
    assert {"saturation", "ramp_fit", "flat_field"} <= set(parts)
    assert "detector1" not in parts
    run = {
        name for name, part in warm._skip_others(chain, ["jump"]).steps().items() if not part.skip
    }
    assert run == {"detector1", "jump"}


def test_a_part_needs_its_own_references():
    step, exposure = Detector1Pipeline(), RampModel(small_exposure("NRCA1", ngroups=4).path)
    assert warm.needed_types(step, exposure, "ramp_fit") == {"gain", "readnoise"}
    assert warm.needed_types(step, exposure, "linearity") == {"linearity"}
    assert warm.needed_types(step, exposure, warm.ALWAYS) == set()
    step.configure({"linearity": {"skip": True}}, "test")
    assert warm.needed_types(step, exposure, "linearity") == set()


def test_the_parts_of_a_frame_that_changes_are_compiled_one_by_one():
    fields = dict(STRIPED["soss"])
    exposure = small_exposure("NIS", size=fields.pop("shape"), ngroups=4, **fields)
    step, model = Detector1Pipeline(), RampModel(exposure.path)
    assert warm.needed_types(step, model, "linearity") == {"linearity", "refpix"}
    assert warm.needed_types(step, model, "superbias") == {"superbias"}
    with offline(exposure.set):
        types = step.wanted_references("NIRISS")
        references = CrdsReferences().resolve({0: model.to_flat_dict()}, types)[0]
        for part in ("superbias", "linearity", "jump"):
            assert warm.compile_part(step, model, references, part)


def test_a_part_that_fails_is_not_compiled():
    exposure = small_exposure("NIS", ngroups=4)
    model = RampModel(exposure.path)
    nothing = ResolvedReferences("", missing={"linearity": "it is not there"})
    assert not warm.compile_part(Detector1Pipeline(), model, nothing, "linearity")
    assert warm.compile_part(Detector1Pipeline(), model, nothing, warm.ALWAYS)
