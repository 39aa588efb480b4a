"""Parameter files round-trip for every kind of parameter, or values are rejected."""

import re
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import (
    Boolean,
    Choice,
    Float,
    InputFile,
    Integer,
    Items,
    Text,
    cfg,
)
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels

NASTY = [
    "a, b", "a,", ",", "it's", 'say "x"', """both ' and " of them""", "# no comment", "a # b", "\\",
    "C:\\dir\\", "%(name)s", "${name}", "$x", "=", "[jump]", "two\nlines", "two\r\nlines", "\u2028",
    "\x0b", "\ufeffbom", " blank ", "\t", "", "none", "None", "naïve ☃", "'''", '"""', "'", '"',
    "'''\"\"\"", "a'\n\"b\"", "@python x", "True", "1,", "x" * 3000, "\x00", "\udcff",
]  # fmt: skip

texts = st.sampled_from(NASTY) | st.text(max_size=12) | st.text("'\"\\,#\n {}%$=[]a", max_size=8)
values = st.fixed_dictionaries(
    {},
    optional={
        "label": texts | st.none(),
        "level": st.floats(allow_nan=False),
        "count": st.integers(),
        "last": st.integers() | st.none(),
        "on": st.booleans(),
        "how": st.sampled_from(["fast", "Slow", "none"]),
        "names": st.lists(texts, max_size=3),
        "levels": st.lists(st.floats(allow_nan=False), max_size=3),
        "counts": st.lists(st.integers(), max_size=3),
        "override_flat": texts,
        "suffix": texts,
    },
)


class Thing(Step):
    """A step with a parameter of each kind."""

    reference_file_types = ["flat"]
    level = Float(4.0, help="how high", unit="DN")
    count = Integer(3, help="how many, # and 'more'")
    last = Integer(None, none=True)
    on = Boolean(True)
    how = Choice("fast", ("fast", "Slow", "none"))
    label = Text("a label")
    names = Items(help="names")
    levels = Items(Float(0.0), help="levels")
    counts = Items(Integer(0), help="counts")

    def process(self, exposure):
        return exposure


class Things(Pipeline):
    """A pipeline of two such steps."""

    step_defs = {"one": Thing, "other": Thing}


def make_pipeline(given):
    """Return a pipeline in which a step has those values that are valid for it."""
    step = Things()
    with suppress(ParameterError):  # e.g. None for a string
        for name, value in given.items():
            setattr(step.one, name, value)
    return step


def read_values(step):
    return {
        n: {k: v for k, (v, _) in s.parameter_values().items()} for n, s in step.steps().items()
    }


@given(values, st.booleans())
@example({"label": "@python x"}, True)
@example({"names": []}, False)
def test_written_values_round_trip_or_are_rejected(tmp_path_factory, given, chosen):
    step, path = make_pipeline(given), tmp_path_factory.getbasetemp() / "roundtrip.cfg"
    event = None
    try:
        path.write_bytes(cfg.format_cfg(step, chosen=chosen).encode())
    except ParameterError as error:
        event = str(error)
    if event is not None:
        assert re.match(r"one\.\w+ = .*a parameter file cannot hold", event, re.DOTALL)
        return
    again = Things.from_config(path)
    assert read_values(again) == read_values(step)


NOT_HELD = ("'''\"\"\"", "\udcff", "@python x", "two\r\nlines")


@pytest.mark.parametrize("text", [t for t in NASTY if t not in NOT_HELD])
def test_texts_that_a_file_can_hold_are_accepted(tmp_path, text):
    step = Thing(label=text)
    path = tmp_path / "thing.cfg"
    path.write_bytes(cfg.format_cfg(step).encode())
    assert Thing.from_config(path).label == text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": "'''\"\"\""}, r"label = .*cannot hold this mixture of quotes"),
        ({"names": ["a'b\"c"]}, r"names = .*both kinds of quotes"),
        ({"label": "\udcff"}, r"label = .*cannot hold this text unchanged"),
    ],
)
def test_values_that_no_file_can_hold_are_rejected(values, message):
    for chosen in (True, False):
        with pytest.raises(ParameterError, match=message):
            cfg.format_cfg(Thing(**values), chosen=chosen)


def test_comments_cannot_become_parameters(tmp_path):
    step = Thing()
    step.configure({"": {"level": 5}}, "odd\nskip = True\u2028[one]\rfile.cfg")
    path = tmp_path / "thing.cfg"
    path.write_bytes(cfg.format_cfg(step).encode())
    assert Thing.from_config(path).skip is False
    assert "from odd skip = True [one] file.cfg" in path.read_text()


def test_unquoted_text_with_commas_is_rejected(tmp_path):
    path = tmp_path / "thing.cfg"
    path.write_text("label = a, b\n")
    with pytest.raises(ParameterError, match=r"label = .*quote text that contains commas"):
        Thing.from_config(path)


@pytest.mark.parametrize("word", ["none", "None"])
def test_none_is_a_string_for_parameters_that_cannot_be_none(word):
    assert Thing(label=word, how=word).parameter_values()["label"][0] == word
    assert Thing(how=word).how == "none"


class Files(Step):
    """A step with parameters that name files."""

    reference_file_types = ["flat"]
    file = Text(None, none=True)
    flags = InputFile()
    files = Items(Text(None, none=True))

    def process(self, exposure):
        return exposure


@pytest.mark.parametrize("name", ["file", "flags", "files", "override_flat"])
@pytest.mark.parametrize("word", ["none", "None", "n/a", "N/A"])
def test_a_path_is_never_read_as_a_word(tmp_path, name, word):
    step = Files(**{name: [Path(word)] if name == "files" else Path(word)})
    path = tmp_path / "files.cfg"
    path.write_text(cfg.format_cfg(step))
    again = getattr(Files.from_config(path), name)
    assert Path(again[0] if name == "files" else again) == Path(word)
    assert again == getattr(step, name)
    assert again not in (word, [word])


HUGE = [2**63, -(2**63) - 1, 10**5000, "9" * 5000, 1e300]


@pytest.mark.parametrize("value", HUGE, ids=range(len(HUGE)))
def test_huge_integers_are_rejected_on_assignment(value):
    for name, given_value in (("count", value), ("last", value), ("counts", [value])):
        with pytest.raises(ParameterError, match=rf"^thing\.{name}\b.* must "):
            Thing(name="thing", **{name: given_value})
    assert Thing(count=2**63 - 1).count == 2**63 - 1


class TestOverrides:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (5, r"thing\.override_flat = 5: must be a path, a model or N/A or None, not int"),
            (True, r"thing\.override_flat = True"),
            (["a.fits", "b.fits"], r"thing\.override_flat = \['a"),
            (np.ones((4, 4)), r"thing\.override_flat = array.*not ndarray"),
            (SimpleNamespace(path="x.fits"), r"thing\.override_flat = .*not SimpleNamespace"),
            (datamodels.GainModel((4, 4)), r"thing\.override_flat: .*FlatModel, not GainModel"),
            (datamodels.CubeModel((2, 4, 4)), r"thing\.override_flat: .*no valid 'data'"),
        ],
    )
    def test_wrong_types_are_rejected_on_assignment(self, value, message):
        with pytest.raises(ParameterError, match=message):
            Thing(name="thing", override_flat=value)

    @pytest.mark.parametrize("value", ["a.fits", Path("a.fits"), "N/A", None])
    def test_paths_and_none_are_accepted(self, value):
        assert Thing(override_flat=value).override_flat == value

    @pytest.mark.parametrize("cls", [datamodels.FlatModel, datamodels.ImageModel])
    def test_models_of_the_right_type_are_accepted(self, cls):
        model = cls((4, 4))
        assert Thing(override_flat=model).override_flat is model

    def test_a_file_of_another_type_is_rejected_before_anything_runs(self, tmp_path):
        model = datamodels.GainModel(np.ones((4, 4)))
        model.meta.reftype = "GAIN"
        path = model.save(tmp_path / "gain.fits", fsync=False)
        for override in (path, str(path)):
            with pytest.raises(
                RequestError, match=r"readnoise: .*gain\.fits: is a gain reference.*not a readnoise"
            ):
                configure_step("jump", parameters={"": {"override_readnoise": override}})
