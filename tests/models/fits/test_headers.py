"""Conversion of headers to metadata and back."""

import math
import warnings
from functools import reduce

import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from stdatamodels.jwst.datamodels import CubeModel, Level1bModel

from calbatch.models.errors import FileError, ValidationError, ValidationWarning
from calbatch.models.fits.cards import is_structural
from calbatch.models.fits.headers import cards_from_meta, hdu_keys, meta_from_headers
from calbatch.models.schema.meta import flatten, get_path, set_path
from calbatch.models.schema.spec import load_schema

SCHEMA = load_schema("image")
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=150)
keywords = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=8)


def value_of(spec):
    """Return a strategy for values of a keyword that survive a round trip through FITS."""
    if spec.enum:
        return st.sampled_from(spec.enum)
    return {
        # FITS does not keep trailing blanks.
        "string": printable.map(str.rstrip).filter(lambda text: not is_record_valued(text)),
        "integer": st.integers(-(10**15), 10**15),
        "number": st.floats(allow_nan=False, allow_infinity=False).map(as_in_a_card),
        "boolean": st.booleans(),
    }[spec.type]


def is_record_valued(text):
    """Return whether astropy reads a text as a record-valued card (`KEY = 'axis: 1.0'`)."""
    return fits.Card("TITLE", text).keyword != "TITLE"


def as_in_a_card(value):
    """Return a number as astropy writes it in the 20 characters of a card."""
    return fits.Card.fromstring(str(fits.Card("X", value))).value


@st.composite
def metadata(draw):
    specs = [s for s in SCHEMA.keywords.values() if s.keyword]
    chosen = draw(st.lists(st.sampled_from(specs), max_size=12, unique_by=lambda s: s.path))
    data = {"meta": {}}
    for spec in chosen:
        set_path(data, spec.path, draw(value_of(spec)))
    return data


def header_text(cards):
    """Return cards as the text of a header, made by astropy."""
    return fits.Header(cards).tostring()


def headers_of(schema, data, extra):
    """Return the headers of all HDUs as read from a file."""
    keys = ["PRIMARY", *(key for key in schema.by_hdu if key != "PRIMARY")]
    return [
        ("" if key == "PRIMARY" else key, 1, header_text(cards_from_meta(schema, data, extra, key)))
        for key in keys
    ]


def file_headers(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # some real files have errors
        with fits.open(path) as hdus:
            return [(hdu.name, hdu.ver, hdu.header.copy()) for hdu in hdus]


class TestRoundTrip:
    @given(metadata())
    def test_metadata(self, data):
        found, extra = meta_from_headers(SCHEMA, headers_of(SCHEMA, data, {}))
        assert flatten(found) == flatten(data)
        assert extra == {}

    @given(
        st.lists(
            st.tuples(keywords, st.booleans() | st.integers(-(10**9), 10**9) | printable),
            max_size=6,
        )
    )
    def test_cards_that_no_schema_names(self, cards):
        cards = [
            (keyword, value.rstrip() if isinstance(value, str) else value, "kept")
            for keyword, value in cards
            if keyword not in SCHEMA.by_card["SCI"]
            and not is_structural(keyword)
            and keyword not in ("COMMENT", "HISTORY", "CONTINUE", "END", "HIERARCH")
            and not (isinstance(value, str) and is_record_valued(value))
        ]
        extra = {"SCI": cards} if cards else {}
        data = {"meta": {"bunit_data": "DN/s"}}
        found, kept = meta_from_headers(SCHEMA, headers_of(SCHEMA, data, extra))
        short = {key: [card[:2] for card in cards] for key, cards in extra.items()}
        assert {key: [card[:2] for card in cards] for key, cards in kept.items()} == short
        assert found == data

    @given(st.lists(st.text(max_size=200), min_size=1, max_size=3))
    def test_history_is_kept_in_printable_lines(self, history):
        data = {"meta": {}, "history": history}
        text = header_text(cards_from_meta(SCHEMA, data, {}, "PRIMARY"))
        found, extra = meta_from_headers(SCHEMA, [("", 1, text)])
        again = header_text(cards_from_meta(SCHEMA, found, extra, "PRIMARY"))
        assert again == text
        joined = "".join(found["history"]).replace(" ", "")
        wanted = "".join("".join(entry.splitlines()) for entry in history)
        assert len(joined) >= len("".join(c for c in wanted if " " < c <= "~"))

    def test_comments_keep_their_places(self):
        extra = {"PRIMARY": [("COMMENT", "one", ""), ("NEXTEND", 1, "n"), ("COMMENT", "two", "")]}
        text = header_text(cards_from_meta(SCHEMA, {"meta": {}}, extra, "PRIMARY"))
        assert meta_from_headers(SCHEMA, [("", 1, text)]) == ({"meta": {}}, extra)


class TestReading:
    def read(self, *cards, **options):
        return meta_from_headers(SCHEMA, [("", 1, header_text(list(cards)))], **options)

    def test_metadata_are_read_only_from_their_own_hdu(self):
        data, extra = self.read(("PA_APER", 3.0))
        assert data == {"meta": {}}
        assert extra == {"PRIMARY": [("PA_APER", 3.0, "")]}

    def test_other_versions_of_an_extension_keep_their_cards(self):
        headers = [("", 1, ""), ("SCI", 1, header_text([("BUNIT", "DN")]))]
        headers.append(("SCI", 2, header_text([("BUNIT", "s")])))
        data, extra = meta_from_headers(SCHEMA, headers)
        assert data["meta"] == {"bunit_data": "DN"}
        assert extra == {"SCI,2": [("BUNIT", "s", "")]}

    def test_a_value_that_is_not_allowed_is_kept_as_a_card(self):
        with pytest.warns(ValidationWarning, match=r"a\.fits: INSTRUME .*'FOO'"):
            data, extra = self.read(("INSTRUME", "FOO"), where="a.fits")
        assert data == {"meta": {}}
        assert cards_from_meta(SCHEMA, data, extra, "PRIMARY") == [("INSTRUME", "FOO", "")]

    def test_a_valid_value_replaces_an_invalid_card(self):
        with pytest.warns(ValidationWarning):
            data, extra = self.read(("INSTRUME", "FOO"))
        set_path(data, "meta.instrument.name", "MIRI")
        cards = cards_from_meta(SCHEMA, data, extra, "PRIMARY")
        assert [card[:2] for card in cards if card[0]] == [("INSTRUME", "MIRI")]

    def test_strict(self, monkeypatch):
        monkeypatch.setenv("STRICT_VALIDATION", "1")
        with pytest.raises(ValidationError, match=r"a\.fits: INSTRUME"):
            self.read(("INSTRUME", "FOO"), where="a.fits")

    def test_unchecked(self, monkeypatch):
        monkeypatch.setenv("VALIDATE_ON_ASSIGNMENT", "0")
        assert self.read(("INSTRUME", "FOO"))[0]["meta"] == {"instrument": {"name": "FOO"}}

    def test_a_keyword_without_a_value_remains_a_card(self):
        data, extra = self.read(("INSTRUME", None))
        assert data == {"meta": {}}
        assert extra == {"PRIMARY": [("INSTRUME", None, "")]}

    def test_the_first_of_two_cards_is_used(self):
        data, extra = self.read(("INSTRUME", "MIRI"), ("INSTRUME", "FGS"))
        assert data["meta"]["instrument"]["name"] == "MIRI"
        assert extra == {}

    def test_the_header_of_the_asdf_extension_is_ignored(self):
        headers = [("", 1, ""), ("ASDF", 1, header_text([("OWN", 1)]))]
        assert meta_from_headers(SCHEMA, headers) == ({"meta": {}}, {})

    @pytest.mark.parametrize(
        "value", ["NaN", "-Infinity", "1E999", "5,25", "1.0.0", "'no end", "1 2 3 = '"]
    )
    def test_an_unreadable_value_is_refused_with_file_card_and_advice(self, value):
        text = f"TGROUP  = {value:>20}".ljust(80)
        with pytest.raises(FileError) as caught:
            meta_from_headers(SCHEMA, [("", 1, text)], where="a.fits")
        start = f"a.fits: HDU PRIMARY: TGROUP = {value} is not a valid FITS value; "
        assert str(caught.value).startswith(start)
        assert "setval(FILE, 'TGROUP', ext=0, value=VALUE)" in str(caught.value)
        assert "delval(FILE, 'TGROUP', ext=0)" in str(caught.value)

    def test_the_advice_for_an_unreadable_value_works(self, tmp_path):
        path = tmp_path / "a.fits"
        fits.PrimaryHDU(header=fits.Header([("TGROUP", 5.25), ("OWN", 1)])).writeto(path)
        damaged = path.read_bytes().replace(b"5.25", b" NaN")
        path.write_bytes(damaged)
        fits.setval(path, "TGROUP", ext=0, value=5.25)
        assert fits.getheader(path)["TGROUP"] == 5.25
        path.write_bytes(damaged)
        fits.delval(path, "TGROUP", ext=0)
        assert "TGROUP" not in fits.getheader(path)

    def test_an_unreadable_value_without_a_schema_entry_is_dropped_with_a_warning(self):
        text = "KEY     = NaN".ljust(80) + "KEY2    =                    2".ljust(80)
        with pytest.warns(ValidationWarning, match=r"^a\.fits: HDU SCI: KEY = NaN is not a valid"):
            _, extra = meta_from_headers(SCHEMA, [("", 1, ""), ("SCI", 1, text)], where="a.fits")
        assert extra == {"SCI": [("KEY2", 2, "")]}

    def test_names_of_hdus(self):
        hdus = [("X", 1), ("SCI", 1), ("sci", 2), ("", 1), ("SCI", 1), ("Pointing", 1)]
        assert hdu_keys(hdus) == ["PRIMARY", "SCI", "SCI,2", "#3", "#4", "POINTING"]


class TestWriting:
    def test_schema_order_and_sections(self):
        data = {"meta": {"exposure": {"type": "NRC_IMAGE"}, "program": {"title": "t"}}}
        set_path(data, "meta.date", "2022")
        cards = cards_from_meta(SCHEMA, data, {}, "PRIMARY")
        assert [card[0] or card[1] for card in cards] == [
            *("DATE", "", "Program information", "", "TITLE"),
            *("", "Exposure parameters", "", "EXP_TYPE"),
        ]
        assert cards[0] == ("DATE", "2022", SCHEMA.keywords["meta.date"].title)

    def test_history_is_last(self):
        data = {"meta": {"date": "2022"}, "history": ["a"]}
        cards = cards_from_meta(SCHEMA, data, {"PRIMARY": [("OWN", 1, "")]}, "PRIMARY")
        assert [card[0] for card in cards] == ["DATE", "OWN", "HISTORY"]

    def test_logical_values(self):
        data = {"meta": {"exposure": {"zero_frame": False}}}
        text = header_text(cards_from_meta(SCHEMA, data, {}, "PRIMARY"))
        assert "ZEROFRAM=                    F /" in text

    @pytest.mark.parametrize("value", [math.nan, math.inf, [1], "caf\u00e9", "two\nlines"])
    def test_values_that_fits_cannot_hold_are_dropped_with_a_warning(self, value):
        data = {"meta": {"exposure": {"type": value}}}
        with pytest.warns(ValidationWarning, match=r"EXP_TYPE .*FITS headers .*dropped"):
            assert cards_from_meta(SCHEMA, data, {}, "PRIMARY") == []

    def test_values_that_fits_cannot_hold_are_errors_under_strict_validation(self, monkeypatch):
        monkeypatch.setenv("STRICT_VALIDATION", "1")
        data = {"meta": {"exposure": {"type": math.nan}}}
        with pytest.raises(ValidationError, match="FITS headers hold finite numbers only"):
            cards_from_meta(SCHEMA, data, {}, "PRIMARY")

    @pytest.mark.parametrize("length", range(60, 75))
    def test_texts_near_the_end_of_a_card(self, length):
        data = {"meta": {"filename": "x" * length}}
        text = header_text(cards_from_meta(SCHEMA, data, {}, "PRIMARY"))
        assert meta_from_headers(SCHEMA, [("", 1, text)])[0] == data


class TestRealFiles:
    @pytest.fixture
    def files(self, real_data):
        files = sorted(p for p in real_data.glob("*/*.fits") if p.parent.name != "bad_inputs")
        assert len(files) > 10
        return files

    # Old files have values that the schemas no longer allow; their warnings are not tested.
    @pytest.mark.filterwarnings("ignore::calbatch.models.errors.ValidationWarning")
    def test_no_card_is_lost(self, files):
        for path in files:
            headers = file_headers(path)
            schema = load_schema("ramp" if "uncal" in path.name else "image")
            data, extra = meta_from_headers(schema, headers, where=str(path))
            keys = hdu_keys([header[:2] for header in headers])
            for key, (_, _, header) in zip(keys, headers, strict=True):
                if key == "ASDF":
                    continue
                written = [c[:2] for c in cards_from_meta(schema, data, extra, key) if c[0]]
                wanted = [
                    (c.keyword, None if isinstance(c.value, fits.card.Undefined) else c.value)
                    for c in header.cards
                    if c.keyword and not is_structural(c.keyword)
                ]
                assert sorted(written, key=repr) == sorted(wanted, key=repr), (path, key)

    @pytest.mark.filterwarnings("ignore::calbatch.models.errors.ValidationWarning")
    def test_text_and_header_are_read_alike(self, files):
        for path in files:
            headers = file_headers(path)
            texts = [(name, version, header.tostring()) for name, version, header in headers]
            schema = load_schema("ramp")
            assert meta_from_headers(schema, texts) == meta_from_headers(schema, headers)

    @pytest.mark.parametrize(
        ("name", "schema", "theirs"),
        [
            ("fgs_acq1/jw01019001001_gs-acq1_2022117003102_uncal.fits", "level1b", Level1bModel),
            ("miri_lrs/ERS_NGTS10_2022_new_drift_041_rateints.fits", "cube", CubeModel),
        ],
    )
    @pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.ValidationWarning")
    @pytest.mark.filterwarnings("ignore::asdf.exceptions.AsdfWarning")
    def test_the_metadata_agree_with_stdatamodels(self, real_data, name, schema, theirs):
        path = real_data / name
        data, _ = meta_from_headers(load_schema(schema), file_headers(path))
        with theirs(path) as model:
            for spec in load_schema(schema).keywords.values():
                if spec.keyword and not spec.path.startswith("meta.calbatch."):
                    expected = reduce(getattr, spec.parts, model)
                    if isinstance(expected, float):
                        # stdatamodels reads the ASDF extension, which has more digits than a card.
                        expected = pytest.approx(expected, rel=1e-14)
                    assert get_path(data, spec.path) == expected, spec.path

    @pytest.mark.parametrize(
        ("step", "schema"), [("jump", "ramp"), ("rate", "image"), ("rateints", "cube")]
    )
    def test_cards_come_in_the_order_that_jwst_writes_them(self, real_data, step, schema):
        headers = file_headers(real_data / "nirspec_sub512" / f"nrs1_sub512_syn_{step}.fits")
        data, extra = meta_from_headers(load_schema(schema), headers)
        for name, _, header in headers:
            cards = cards_from_meta(load_schema(schema), data, extra, name)
            wanted = [k for k in header if k and not is_structural(k)]
            assert [card[0] for card in cards if card[0]] == wanted

    def test_a_flight_exposure_keeps_every_keyword_in_place(self, real_data):
        path = real_data / "fgs_acq1" / "jw01019001001_gs-acq1_2022117003102_uncal.fits"
        data, extra = meta_from_headers(load_schema("level1b"), file_headers(path))
        assert get_path(data, "meta.instrument.detector") == "GUIDER2"
        assert get_path(data, "meta.subarray.slowaxis") == -1
        assert {card[0] for cards in extra.values() for card in cards} == {"NEXTEND", "COMMENT"}


def test_a_header_of_300_keywords_is_read_as_it_was_written():
    specs = [s for s in SCHEMA.keywords.values() if s.keyword][:300]
    values = {"string": "text", "integer": 7, "number": 1.5, "boolean": True}
    data = {"meta": {}}
    for spec in specs:
        set_path(data, spec.path, spec.enum[0] if spec.enum else values[spec.type])
    found, _ = meta_from_headers(SCHEMA, headers_of(SCHEMA, data, {}))
    assert flatten(found) == flatten(data)
