"""Chains of pipelines: sections, parameters, parts, and the results that they hand on."""

import copy
import pickle

import pytest
from support.toys import Scale, Toy2, Toy3

from calbatch.calibrate import registry
from calbatch.calibrate.chain import Chain, choose_result, make_chain, select_part
from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.parameters import cfg
from calbatch.calibrate.pipeline import Pipeline
from calbatch.models.datamodels import ImageModel


class Other(Pipeline):
    """Another pipeline with a step of the same name."""

    takes = ("cal",)
    suffixes = ("other",)
    step_defs = {"scale": Scale, "again": Scale}


class Third(Pipeline):
    """A pipeline that takes the products of `Other`."""

    takes = ("other",)
    suffixes = ("third",)


TOYS = make_chain((Toy2, Other))


def test_steps_have_their_own_sections_where_their_names_are_unique():
    chain = TOYS()
    assert list(chain.steps()) == ["Toy2", "Toy2.scale", "Other", "Other.scale", "again"]
    chain.configure({"Toy2.scale": {"factor": 2}, "again": {"factor": 3}}, "test")
    chain.configure({"Other.again": {"factor": 4}}, "test")
    assert (chain.Toy2.scale.factor, chain.Other.again.factor) == (2.0, 4.0)
    with pytest.raises(ParameterError, match="has no step 'scale'"):
        chain.configure({"scale": {"factor": 2}}, "test")


def test_a_suffix_of_the_chain_is_refused():
    chain = TOYS(suffix="mine")
    with pytest.raises(ParameterError, match=(
        r"suffix cannot be set for the chain Toy2,Other: .* such as Other\.suffix"
    )):  # fmt: skip
        chain.check()
    chain.suffix = None
    chain.Other.suffix = "mine"
    chain.check()


def test_results_of_steps_can_be_kept():
    chain = TOYS()
    chain.keep(["again"])
    assert chain.Other.again.save_results
    with pytest.raises(ParameterError, match="has no step 'agian'; did you mean 'again'"):
        chain.keep(["agian"])


def test_a_chain_survives_pickling_copying_and_a_parameter_file(tmp_path):
    chain = TOYS()
    chain.configure({"again": {"factor": 3}}, "test")
    for twin in (pickle.loads(pickle.dumps(chain)), copy.deepcopy(chain)):
        assert type(twin) is TOYS
        assert twin.Other.again.factor == 3.0
        assert twin.Other.again.root is twin
    path = tmp_path / "chain.cfg"
    path.write_text(cfg.format_cfg(chain, chosen=True))
    found = cfg.read(path)
    assert found.values["again"] == {"factor": "3.0"}
    assert registry.find(found.cls) is TOYS


def test_a_part_is_configured_like_the_chain_and_independent_of_it():
    chain = TOYS(output_dir="/out")
    chain.configure({"again": {"factor": 3}}, "test")
    other = select_part(chain, "Other")
    assert (type(other), other.root, other.output_dir) == (Other, other, "/out")
    assert other.again.factor == 3.0
    assert other is not chain.Other
    both = make_chain((Toy2, Other, Third))().select("Toy2,Other")
    assert list(both.parts) == ["Toy2", "Other"]
    assert both.Other.again.root is both
    assert select_part(chain, "") is chain
    with pytest.raises(ParameterError, match="has no pipelines Toy3"):
        select_part(chain, "Toy3")


def test_unfit_pipelines_are_refused():
    with pytest.raises(ParameterError, match="Toy2,Toy2: Toy2 appears 2 times"):
        make_chain((Toy2, Toy2))
    with pytest.raises(ParameterError, match="Toy2 takes rate, but Toy3 makes i2d"):
        make_chain((Toy3, Toy2))
    assert issubclass(make_chain((Scale, Toy2)), Chain)


def test_the_result_that_the_next_one_takes_is_chosen_by_its_suffix():
    rate, rateints = ImageModel((4, 4)), ImageModel((4, 4))
    detector1 = registry.find("detector1")()
    assert choose_result(detector1, Toy2(), (rate, rateints)) is rate
    assert choose_result(Scale(), Toy2(), rateints) is rateints
    with pytest.raises(StepError, match="detector1 made no rate, which Toy2 takes"):
        choose_result(detector1, Toy2(), rate)
