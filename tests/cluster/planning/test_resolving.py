"""Choosing parameters and references for many exposures."""

from pathlib import Path

import pytest

from calbatch.calibrate import pars
from calbatch.calibrate.errors import ParameterError, ReferenceFileError
from calbatch.calibrate.references import ChosenReference, ResolvedReferences
from calbatch.calibrate.steps.group_scale import GroupScaleStep
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.resolving import Resolution, resolve_references

PARS = "pars-jumpstep"


class FakeReferences:
    """Chooses references by rules in memory."""

    context_reason = "as requested"

    def __init__(self, parameters=None, error=None):
        self.parameters, self.error = parameters or {}, error
        self.groups, self.fetched = [], []

    @property
    def context(self):
        if self.error:
            raise self.error
        return "jwst_1.pmap"

    def resolve(self, headers, types, fetch=None, *, optional=False):
        if fetch:
            fetch([PARS])
        return {
            number: ResolvedReferences(
                self.context, {PARS: ChosenReference(self.parameters.get(header["kind"]), "")}
            )
            for number, header in headers.items()
        }

    def resolve_all(self, groups, fetch=None, *, foresee=None):
        self.groups = [(sorted(headers), set(types)) for headers, types in groups]
        return {n: ResolvedReferences(self.context) for numbers, _ in self.groups for n in numbers}


@pytest.fixture
def configured(monkeypatch):
    """Let parameter references set `rejection_threshold` to the number in their name."""

    def configure(step, chosen):
        path = chosen[PARS].path
        if path is None:
            return step
        if path.stem == "bad":
            raise ParameterError("bad parameters")
        return type(step)(rejection_threshold=float(path.stem))

    monkeypatch.setattr(pars, "configure", configure)
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "")
    monkeypatch.setenv("CALBATCH_NO_PARS", "")


def headers(*kinds):
    return {number: {"kind": kind} for number, kind in enumerate(kinds)}


def test_all_exposures_of_a_step_are_resolved_together():
    references = FakeReferences()
    step = JumpStep()
    found = resolve_references(step, headers("a", "b"), references, use_pars=False)
    assert references.groups == [([0, 1], step.wanted_references())]
    assert set(found.references) == {0, 1}
    assert (found.context, found.context_reason) == ("jwst_1.pmap", "as requested")


def test_a_step_without_references_needs_no_context():
    found = resolve_references(GroupScaleStep(), headers("a"), FakeReferences(), use_pars=False)
    assert found == Resolution()


@pytest.mark.usefixtures("configured")
def test_each_set_of_parameter_references_configures_one_step():
    references = FakeReferences({"a": Path("/5.asdf"), "b": Path("/6.asdf")})
    step = JumpStep()
    found = resolve_references(step, headers("a", "b", "a", "none"), references)
    assert found.steps[0] is found.steps[2]
    assert [found.steps[n].rejection_threshold for n in (0, 1)] == [5.0, 6.0]
    assert 3 not in found.steps
    assert found.chosen == {0: ("5.asdf",), 1: ("6.asdf",), 2: ("5.asdf",)}
    assert found.parameters == {"5.asdf": 2, "6.asdf": 1}
    assert sorted(numbers for numbers, _ in references.groups) == [[0, 2], [1], [3]]


@pytest.mark.usefixtures("configured")
def test_bad_parameters_fail_their_exposures():
    references = FakeReferences({"a": Path("/bad.asdf")})
    found = resolve_references(JumpStep(), headers("a", "none"), references)
    assert {n: str(error) for n, error in found.errors.items()} == {0: "bad parameters"}
    assert set(found.references) == {1}


@pytest.mark.parametrize("variable", ["STPIPE_DISABLE_CRDS_STEPPARS", "CALBATCH_NO_PARS"])
@pytest.mark.usefixtures("configured")
def test_parameter_references_can_be_disabled(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    references = FakeReferences({"a": Path("/5.asdf")})
    assert resolve_references(JumpStep(), headers("a"), references).steps == {}


@pytest.mark.parametrize("use_pars", [True, False])
def test_a_missing_cache_is_an_error_if_references_are_needed(use_pars):
    references = FakeReferences(error=ReferenceFileError("no cache"))
    with pytest.raises(RequestError, match="no cache"):
        resolve_references(JumpStep(), headers("a"), references, use_pars=use_pars)
    assert resolve_references(GroupScaleStep(), headers("a"), references) == Resolution()


@pytest.mark.usefixtures("configured")
def test_missing_files_are_fetched_by_the_given_function():
    references = FakeReferences()

    def fetch(client, names):
        assert client is references
        client.fetched.extend(names)
        return {}

    resolve_references(JumpStep(), headers("a"), references, fetch)
    assert references.fetched == [PARS]
