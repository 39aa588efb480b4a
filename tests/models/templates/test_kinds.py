"""Kinds: models of different files are of one kind if nothing but their own parts differs."""

import re

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models import datamodels
from calbatch.models.errors import ChangedError, ModelError
from calbatch.models.storage.files import read_stamp
from calbatch.models.templates.blanks import PATH_TEXT, ConsultedError
from calbatch.models.templates.kinds import detach, make_blank
from calbatch.models.templates.template import Template

OF_KINDS = ("meta.exposure.", "meta.subarray.")


def is_of_kind(path):
    return path.startswith(OF_KINDS) and path != "meta.exposure.start_time"


def write(path, cards=None, *, extra=(), shape=(1, 3, 8, 6), **hdus):
    """Write a raw exposure with some cards, and return its path."""
    model = datamodels.Level1bModel(np.ones(shape, "u2"), **hdus)
    model.meta.exposure.ngroups = shape[1]
    for name, value in (cards or {}).items():
        model[name] = value
    for card in extra:
        model.set_card(*card)
    model.save(path, date="2026-01-01T00:00:00")
    return path


def open_file(path):
    model = datamodels.open(path)
    return detach(model, read_stamp(path), is_of_kind)


def test_files_of_one_kind_differ_in_their_names_times_and_targets(tmp_path):
    one = write(tmp_path / "a.fits", {"meta.exposure.start_time": 60000.0, "meta.target.ra": 1.5})
    two = write(tmp_path / "b.fits", {"meta.exposure.start_time": 60001.0, "meta.target.ra": 2.5})
    (kind, parts), (other, others) = map(open_file, (one, two))
    assert kind == other
    assert hash(kind) == hash(other)
    assert parts.path == one
    assert parts.values["meta", "meta.target.ra"] == 1.5
    assert others.values["meta", "meta.exposure.start_time"] == 60001.0
    assert ("meta", "meta.exposure.ngroups") not in parts.values


@pytest.mark.parametrize(
    "changes",
    [
        {"cards": {"meta.exposure.nframes": 4}},
        {"cards": {"meta.target.dec": 1.0}},
        {"extra": [("EXTRA", 1)]},
        {"shape": (1, 3, 8, 7)},
        {"shape": (1, 4, 8, 6)},
        {"zeroframe": np.ones((1, 8, 6), "u2")},
    ],
    ids=["a kept value", "a keyword", "a card", "columns", "groups", "an array"],
)
def test_files_of_other_kinds(tmp_path, changes):
    cards = {"meta.exposure.nframes": 2, "meta.target.ra": 1.0}
    one = write(tmp_path / "a.fits", cards)
    cards |= changes.pop("cards", {})
    two = write(tmp_path / "b.fits", cards, **changes)
    assert open_file(one)[0] != open_file(two)[0]


def test_values_of_equal_numbers_and_other_types_are_of_other_kinds(tmp_path):
    """A kept value of 1.0 is not 1, nor True: plans may depend on its type."""
    model = datamodels.open(write(tmp_path / "a.fits"))
    kinds = []
    for value in (1, 1.0, True, "1", 0.0, -0.0):
        model._content.tree["meta"]["exposure"]["nframes"] = value
        kinds.append(detach(model, read_stamp(model.path), is_of_kind)[0])
    assert len(set(kinds)) == len(kinds)


def test_the_parts_of_a_blank_model_are_blank(tmp_path):
    path = write(
        tmp_path / "a.fits", {"meta.target.ra": 1.5}, extra=[("EXTRA", 2), ("WHERE", str(tmp_path))]
    )
    kind, _ = open_file(path)
    consulted = set()
    blank = make_blank(kind, consulted)
    assert type(blank) is datamodels.Level1bModel
    assert blank.shape == (1, 3, 8, 6)
    assert blank.meta.exposure.ngroups == 3
    assert consulted == set()
    for place, use in {
        ("meta", "meta.target.ra"): lambda: blank.meta.target.ra,
        ("meta", "meta.filename"): lambda: blank["meta.filename"],
        ("card", "PRIMARY", 0): lambda: blank.get_card("EXTRA"),
        ("stamp",): lambda: blank.reader("data").read((0, 1), (0, 1)),
        ("cards", 2): lambda: blank._content.other_hdus[0].cards,
        ("path",): lambda: blank.path.name,
    }.items():
        consulted.clear()
        with pytest.raises(ConsultedError):
            use()
        assert consulted == {place}
    with pytest.raises(Exception, match=re.escape(PATH_TEXT)):
        blank.meta.exposure.nframes = "no number"


def test_tables_of_a_blank_model_cannot_be_read(tmp_path):
    table = np.zeros(1, datamodels.Level1bModel((1, 1, 2, 2)).schema.fields["int_times"].dtype)
    kind, _ = open_file(write(tmp_path / "a.fits", int_times=table))
    consulted = set()
    blank = make_blank(kind, consulted)
    assert blank.has("int_times")
    with pytest.raises(ConsultedError):
        blank.int_times  # noqa: B018
    assert consulted


def test_what_has_no_kind_is_refused(tmp_path):
    model = datamodels.ImageModel((8, 6))
    path = write(tmp_path / "a.fits")
    with pytest.raises(ModelError, match="has no kind"):
        detach(model, read_stamp(path), is_of_kind)
    lists = datamodels.open(path)
    lists._content.lists = {"slits": [object()]}
    with pytest.raises(ModelError, match="has no kind"):
        detach(lists, read_stamp(path), is_of_kind)


def test_a_changed_file_has_no_kind(tmp_path):
    path = write(tmp_path / "a.fits")
    model = datamodels.open(path)
    write(path, extra=[("LONGER", "x" * 60)])
    with pytest.raises(ChangedError):
        detach(model, read_stamp(path), is_of_kind)


def test_a_file_whose_name_is_escaped_in_messages_has_no_kind(tmp_path):
    path = write(tmp_path / "a.fits").rename(tmp_path / "a\nb.fits")
    with pytest.raises(ModelError, match="has no kind"):
        open_file(path)


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)
VALUES = {
    "meta.target.ra": st.floats(0, 360),
    "meta.target.proposer_name": TEXT.filter(bool),
    "meta.observation.exposure_number": st.integers(1, 99).map(str),
    "meta.visit.tsovisit": st.booleans(),
}


@st.composite
def files_of_one_kind(draw):
    """Return the metadata and further cards of two files, of the same names."""
    names = draw(st.sets(st.sampled_from([*VALUES])))
    count = draw(st.integers(0, 2))
    kept = {"meta.exposure.nframes": draw(st.integers(1, 8))}
    cards = [kept | {name: draw(VALUES[name]) for name in sorted(names)} for _ in range(2)]
    extra = st.lists(TEXT.filter(bool), min_size=count, max_size=count)
    return [(each, draw(extra)) for each in cards]


@settings(max_examples=40, deadline=None)
@given(files_of_one_kind())
def test_a_filled_model_is_the_model_of_the_file(tmp_path_factory, files):
    """Filling what another file of the kind left blank gives the model that opening gives."""
    folder = tmp_path_factory.mktemp("files")
    opened = []
    for number, (cards, extra) in enumerate(files):
        named = [(f"EXTRA{n}", text) for n, text in enumerate(extra)]
        opened.append(write(folder / f"{number}.fits", cards, extra=named))
    (kind, _), (other, parts) = map(open_file, opened)
    assert kind == other
    filled = Template(make_blank(kind, set())).fill(parts)
    model = datamodels.open(opened[1])
    assert filled._content.tree == model._content.tree
    assert filled._content.extra == model._content.extra
    assert filled.path == model.path
    assert filled.meta.instance == model.meta.instance
    assert filled.shape == model.shape
    with fits.open(opened[1]) as hdus:
        np.testing.assert_array_equal(filled.data.compute(scheduler="sync"), hdus["SCI"].data)


def test_text_that_names_the_file_names_the_other_one(tmp_path):
    """Comments belong to the kind, except for the path in them."""
    paths = [tmp_path / "a.fits", tmp_path / "b.fits"]
    models = [datamodels.open(write(path)) for path in paths]
    for model, path in zip(models, paths, strict=True):
        model._content.extra["PRIMARY"] = [("COMMENT", f"of {path}, not {path}.bak", "")]
    (kind, _), (again, parts) = (detach(m, read_stamp(m.path), is_of_kind) for m in models)
    assert kind == again
    filled = Template(make_blank(kind, set())).fill(parts)
    assert filled._content.extra == models[1]._content.extra
