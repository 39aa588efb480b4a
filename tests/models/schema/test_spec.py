"""Schemas: specifications, faults, and the agreement of our schemas with those of jwst."""

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from asdf.schema import load_schema as load_asdf_schema
from asdf.tags.core.ndarray import asdf_datatype_to_numpy_dtype
from jsonschema import Draft202012Validator
from stdatamodels.jwst import datamodels as jwst_models
from stdatamodels.schema import merge_property_trees
from support.example_schemas import CORE_EXAMPLE, IMAGE_EXAMPLE

from calbatch.models import datamodels
from calbatch.models.errors import SchemaError
from calbatch.models.schema.source import builtin_folder, locate, read_tree
from calbatch.models.schema.spec import load_schema

OTHERS = {
    "DataModel": "is compared as JwstDataModel, its name in stdatamodels",
    "OpenWindowsModel": "does not exist in stdatamodels",
    "GuiderRawModel": "has no world coordinates here, and its extensions have names in capitals",
    "GuiderCalModel": "has no world coordinates here, and its extensions have names in capitals",
}
"""Classes whose schemas are not compared, and why."""
OTHER_TABLES = {
    "AmiOIModel": "has logical values, which stdatamodels declares as bytes and stores as logical",
    "RSCDModel": "does not require the column that references made before 2026 lack",
}
"""Classes whose tables are not compared, and why."""
CLASSES = {
    name: getattr(datamodels, name).schema_url
    for name in datamodels.__all__
    if name[0].isupper() and name not in OTHERS
    and load_schema(getattr(datamodels, name).schema_url).stored_as != "json"
} | {"JwstDataModel": datamodels.DataModel.schema_url}  # fmt: skip
ITEMS = "{type: array, items: {properties: {a: {fits_hdu: A, datatype: float32}}}}"
# HDUs that are copied unread: tables of moving targets and of NIRSpec's target acquisition.
UNKNOWN_HDUS = {"MOVING_TARGET_POSITION", "CHEBY", "MSA_TARG_ACQ"}


def error_of(path):
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def keywords_of(schema):
    """Return specifications of keywords by path, of a list's items as ``slits[].name``."""
    items = {
        f"{name}[].{path}": spec
        for name, of_list in schema.lists.items()
        for path, spec in of_list.item.keywords.items()
    }
    return {**schema.keywords, **items}


def fields_of(schema):
    """Return all specifications of arrays and tables by path; see `keywords_of`."""
    items = {
        f"{name}[].{path}": spec
        for name, of_list in schema.lists.items()
        for path, spec in of_list.item.fields.items()
    }
    return {**schema.fields, **items}


@cache
def jwst_leaves(model):
    """Return (path, schema) of all leaves in the schema of a jwst model; see `keywords_of`.

    Of the keywords of items, only those in extensions that hold the items' arrays are included,
    since stdatamodels cannot store the others.
    """
    url = getattr(jwst_models, model).schema_url
    tree = merge_property_trees(load_asdf_schema(url, resolve_references=True))

    def walk(node, path):
        for name, child in node.get("properties", {}).items():
            place = f"{path}.{name}" if path else name
            if "properties" in child:
                yield from walk(child, place)
            elif "items" in child and "properties" in child["items"]:
                below = list(walk(child["items"], f"{place}[]"))
                hdus = {leaf.get("fits_hdu") for _, leaf in below if "datatype" in leaf}
                yield from (leaf for leaf in below if leaf[1].get("fits_hdu") in hdus - {None})
            elif child.get("fits_hdu") not in UNKNOWN_HDUS:
                yield place, child

    return list(walk(tree, ""))


@pytest.mark.parametrize(("theirs", "ours"), CLASSES.items())
class TestAgreementWithJwst:
    def test_every_keyword_is_at_the_same_path_and_hdu(self, ours, theirs):
        schema = load_schema(ours)
        wanted = {
            path: (
                definition["fits_keyword"].upper(),
                definition.get("fits_hdu", "PRIMARY").upper(),
            )
            for path, definition in jwst_leaves(theirs)
            if "fits_keyword" in definition
        }
        found = {
            path: (spec.keyword, spec.hdu.upper())
            for path, spec in keywords_of(schema).items()
            if path in wanted
        }
        assert len(wanted) > 10
        assert found == wanted

    def test_every_keyword_has_the_same_type(self, ours, theirs):
        schema = load_schema(ours)
        for path, definition in jwst_leaves(theirs):
            if "fits_keyword" in definition and "type" in definition:
                assert keywords_of(schema)[path].type == definition["type"], path

    def test_every_value_that_jwst_allows_is_allowed(self, ours, theirs):
        schema = load_schema(ours)
        for path, definition in jwst_leaves(theirs):
            alternatives = [definition, *definition.get("anyOf", [])]
            values = {value for part in alternatives for value in part.get("enum", [])}
            allowed = keywords_of(schema)[path].enum if values else None
            assert allowed is None or values <= set(allowed), path

    def test_every_array_and_table_is_the_same(self, ours, theirs):
        schema = load_schema(ours)
        for path, definition in jwst_leaves(theirs):
            if "fits_hdu" not in definition or "datatype" not in definition:
                continue
            spec = fields_of(schema)[path]
            if spec.is_table and theirs in OTHER_TABLES:
                continue
            dtype = asdf_datatype_to_numpy_dtype(definition["datatype"]).newbyteorder("=")
            assert (spec.hdu.upper(), spec.dtype) == (definition["fits_hdu"].upper(), dtype)
            assert (spec.ndim, spec.max_ndim) == (
                definition.get("ndim"),
                definition.get("max_ndim"),
            )
            assert spec.default in (None, definition.get("default"))


# Without references, whose metadata jwst composes in different orders.
@pytest.mark.parametrize(
    "name",
    ["Level1bModel", "RampModel", "ImageModel", "IFUImageModel", "CubeModel", "RampFitOutputModel"],
)
def test_the_keywords_of_products_come_in_the_same_order_as_jwsts(name):
    found = [spec.path for spec in load_schema(CLASSES[name]).by_hdu["PRIMARY"]]
    wanted = [
        path
        for path, definition in jwst_leaves(name)
        if "fits_keyword" in definition and definition.get("fits_hdu", "PRIMARY") == "PRIMARY"
    ]
    assert [path for path in found if not path.startswith("meta.calbatch.")] == wanted


class TestOwnSchemas:
    @pytest.fixture
    def files(self):
        files = sorted(Path(str(builtin_folder())).glob("*.yaml"))
        assert files
        return files

    def test_every_file_loads(self, files):
        for file in files:
            schema = load_schema(file)
            assert schema.keywords or schema.fields or schema.lists or schema.parts, file

    @pytest.mark.parametrize("one_in", [8, pytest.param(1, marks=pytest.mark.slow)])
    def test_every_file_is_json_schema_once_shorthand_is_expanded(self, files, one_in):
        validator = Draft202012Validator(Draft202012Validator.META_SCHEMA)
        for file in files[::one_in]:
            tree, _ = read_tree(locate(str(file)))
            assert [*validator.iter_errors(tree.to_json())] == [], file

    def test_every_title_fits_beside_a_number(self, files):
        for file in files:
            for spec in load_schema(file).keywords.values():
                assert 0 < len(spec.title) <= 80 - 8 - 2 - 20 - 3 or spec.keyword is None, spec

    def test_every_step_of_detector1_has_a_status(self):
        steps = load_schema("core").children("meta.cal_step")
        assert {"dq_init", "saturation", "superbias", "refpix", "dark_sub", "jump"} <= {*steps}
        assert load_schema("core").keywords["meta.cal_step.dark_sub"].keyword == "S_DARK"

    def test_raw_counts_are_unsigned(self):
        assert load_schema("level1b").fields["data"].dtype == np.dtype("u2")

    def test_a_bare_name_and_a_file_name_mean_the_same(self):
        assert load_schema("image") is load_schema("image.schema.yaml")

    def test_arrays_that_a_file_must_have_are_required(self):
        ramp = load_schema("ramp").fields
        assert ramp["data"].required
        assert not ramp["groupdq"].required


class TestTheExamples:
    def test_the_image_schema(self, write):
        schema = load_schema(write("image_example.yaml", IMAGE_EXAMPLE))
        assert list(schema.fields) == ["data", "err", "dq"]
        data, err, dq = schema.fields.values()
        assert (data.hdu, data.ndim, data.dtype) == ("SCI", 2, np.dtype("f4"))
        assert (err.hdu, err.ndim, err.default) == ("ERR", None, None)
        assert (dq.title, dq.default, dq.dtype) == ("Data quality array", 0, np.dtype("u4"))
        assert schema.keywords["meta.instrument.name"].keyword == "INSTRUME"

    def test_the_metadata_schema(self, write):
        schema = load_schema(write("core_example.yaml", CORE_EXAMPLE))
        assert list(schema.keywords) == [
            "meta.telescope",
            "meta.instrument",
            "meta.zero_frame",
        ]
        spec = schema.keywords["meta.instrument"]
        assert spec.enum == ("FGS", "MIRI", "NIRCAM", "NIRISS", "NIRSPEC")
        assert (spec.keyword, spec.hdu, spec.type) == ("INSTRUME", "PRIMARY", "string")
        assert schema.keywords["meta.zero_frame"].type == "boolean"

    def test_a_users_core_schema_comes_before_ours(self, write):
        write("core.schema.yaml", CORE_EXAMPLE)
        schema = load_schema(write("image_example.yaml", IMAGE_EXAMPLE))
        assert list(schema.keywords) == ["meta.telescope", "meta.instrument", "meta.zero_frame"]
        assert list(schema.fields) == ["data", "err", "dq"]


class TestTables:
    def test_columns(self, write):
        text = """
        properties:
          table:
            fits_hdu: TABLE
            datatype:
            - {name: TIME, datatype: float64, unit: s}
            - {name: LABEL, datatype: [ascii, 5]}
            - {name: WORD, datatype: [ucs4, 4]}
            - {name: COEFFS, datatype: float32, shape: [2, 3]}
        """
        spec = load_schema(write("s.yaml", text)).fields["table"]
        assert spec.is_table
        assert [c.unit for c in spec.columns] == ["s", None, None, None]
        assert spec.dtype == np.dtype(
            [("TIME", "f8"), ("LABEL", "S5"), ("WORD", "U4"), ("COEFFS", "f4", (2, 3))]
        )

    def test_an_array_is_not_a_table(self):
        assert not load_schema("image").fields["data"].is_table


class TestLists:
    def test_items_with_arrays_have_a_schema_of_their_own(self, write):
        schema = load_schema(write("s.yaml", f"properties: {{l: {ITEMS}}}"))
        assert (list(schema.fields), list(schema.lists)) == ([], ["l"])
        item = schema.lists["l"].item
        assert (item.name, item.is_of_item, item.fields["a"].hdu) == ("s.l", True, "A")

    def test_lists_of_values_are_metadata(self):
        schema = load_schema("core")
        assert schema.keywords["meta.background.polynomial_info"].type == "array"
        assert schema.lists == {}


class TestPickling:
    def test_the_schema_of_our_items_pickles_by_name(self):
        item = load_schema("multislit").lists["slits"].item
        assert pickle.loads(pickle.dumps(item)) is item

    def test_our_own_schemas_pickle_by_name(self):
        schema = load_schema("ramp")
        assert pickle.loads(pickle.dumps(schema)) is schema
        assert len(pickle.dumps(schema)) < 200

    def test_a_users_schema_pickles_completely(self, write):
        path = write("s.yaml", CORE_EXAMPLE)
        data = pickle.dumps(load_schema(path))
        path.unlink()
        assert pickle.loads(data).keywords["meta.telescope"].keyword == "TELESCOP"


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("properties: [1, 2", "not a YAML document"),
            ("!!python/object/apply:os.getcwd []", "not a YAML document"),
            ("- a\n- b", "expected a mapping"),
            ("properties: {meta: {x: {type: strnig}}}", "unknown type 'strnig'"),
            ("properties: {meta: {x: {fits_keywrod: X}}}", "did you mean 'fits_keyword'?"),
            ("properties: {meta: {x: {fits_keyword: TOO_LONG_1}}}", "'TOO_LONG_1' is not 1 to 8"),
            ("properties: {meta: {x: {type: string, enum: [ON, A]}}}", "put it in quotes"),
            ("properties: {meta: {x: {enum: A}}}", "enum must be a list"),
            ("properties: {meta: {x: {pattern: '('}}}", "not a regular expression"),
            ("properties: {meta: {x: {type: string, y: {type: string}}}}", "cannot have children"),
            ("properties: {meta: {no: {type: string}}}", "is not text: put it in quotes"),
            ("properties: {a: {fits_hdu: A, datatype: float23}}", "unknown datatype 'float23'"),
            ("properties: {a: {fits_hdu: A, ndim: two}}", "ndim must be a whole number"),
            ("properties: {a: {datatype: [{name: x}]}}", "a column needs a name and a datatype"),
            ("required: [data]\nproperties: {}", "requires 'data'"),
            ("allOf: {$ref: a}", "allOf must be a list"),
            (f"properties: {{l: {ITEMS}}}".replace("A", "PRIMARY"), "an item cannot be in PRIMARY"),
            (f"properties: {{l: {ITEMS}, m: {ITEMS}}}", "m: an item cannot be in A: state the"),
            (f"properties: {{meta: {{l: {ITEMS}}}}}", "must be in a list at the top of the schema"),
            ("$ref: absent.yaml", "no such schema"),
            ("$ref: '#/definitions/a'", "has no '/definitions/a'"),
            ("$ref: 3", "$ref must be text"),
            ("allOf: [{$ref: s.yaml}]", "refers back to itself"),
            ("properties: &p {meta: *p}", "contains itself"),
        ],
    )
    def test_each_names_the_file_and_the_fault(self, write, text, fault):
        path = write("s.yaml", text)
        message = error_of(path)
        assert message.startswith(str(path))
        assert fault in message

    def test_a_fault_in_a_part_names_the_part_and_the_place(self, write):
        part = write("part.yaml", "properties: {meta: {x: {type: strnig}}}")
        message = error_of(write("s.yaml", "$ref: part.yaml"))
        assert message.startswith(f"{part}: meta.x: ")


class TestLookup:
    def test_by_path(self):
        schema = load_schema("image")
        assert schema.lookup("meta.exposure.type").keyword == "EXP_TYPE"
        assert schema.lookup("dq").hdu == "DQ"
        assert schema.lookup("meta.exposure") is None
        assert schema.has_branch("meta.exposure")
        assert not schema.has_branch("meta.exposure.type")

    def test_search_finds_paths_titles_and_keywords(self):
        schema = load_schema("image")
        gain = dict(schema.search("gain"))
        assert {"meta.exposure.gain_factor", "meta.cal_step.gain_scale"} <= set(gain)
        assert gain["meta.ref_file.gain.name"] == schema.keywords["meta.ref_file.gain.name"].title
        assert ("meta.cal_step.dark_sub", "Dark current step") in schema.search("s_dark")
        assert schema.search("PHOTON")[0][0] == "var_poisson"
        assert schema.search("no such thing") == []
