"""Schema files: finding them, and reading them with their references and shorthand."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.errors import SchemaError
from calbatch.models.schema.source import locate, read_tree
from calbatch.models.schema.spec import load_schema

SCHEMA = "properties: {dq: {fits_hdu: DQ, datatype: uint32}}"


def test_a_schema_is_located_beside_the_referring_file_before_its_own_ones(write):
    path = write("core.schema.yaml", SCHEMA)
    folder = locate(str(path)).folder
    assert str(locate("core", folder)) == str(path)
    assert str(locate("core")) != str(path)
    assert locate("core").modification_time() == 0
    assert locate(str(path)).modification_time() == path.stat().st_mtime_ns


def test_a_tree_lists_all_files_that_it_was_read_from(write):
    part = write("part.yaml", SCHEMA)
    path = write("whole.yaml", "$ref: part.yaml")
    tree, files = read_tree(locate(str(path)))
    assert list(tree.children) == ["dq"]
    assert [str(file) for file in files] == [str(path), str(part)]


class TestShorthand:
    def test_words_that_are_keywords_may_be_names_of_children(self, write):
        text = """
        properties:
          meta:
            exposure:
              title: Exposure parameters
              type: {title: Exposure type, type: STRING, fits_keyword: EXP_TYPE}
              items: {type: integer, fits_keyword: NITEMS}
              default: {type: number, fits_keyword: DEFAULT}
        """
        schema = load_schema(write("s.yaml", text))
        assert schema.branches["meta.exposure"] == "Exposure parameters"
        found = {path: (s.keyword, s.type) for path, s in schema.keywords.items()}
        assert found == {
            "meta.exposure.type": ("EXP_TYPE", "string"),
            "meta.exposure.items": ("NITEMS", "integer"),
            "meta.exposure.default": ("DEFAULT", "number"),
        }

    def test_full_json_schema_and_shorthand_mean_the_same(self, write):
        leaf = "{title: Filter, type: string, fits_keyword: FILTER}"
        short = load_schema(write("a.yaml", f"properties: {{meta: {{i: {{f: {leaf}}}}}}}"))
        full = load_schema(
            write(
                "b.yaml",
                "type: object\nproperties: {meta: {type: object, properties: {i: {type: object,"
                f" properties: {{f: {leaf}}}}}}}}}}}",
            )
        )
        assert short.keywords == full.keywords
        assert short.branches == full.branches

    def test_several_types_become_alternatives(self, write):
        text = "properties: {meta: {x: {type: [String, 'null'], fits_keyword: X}}}"
        spec = load_schema(write("s.yaml", text)).keywords["meta.x"]
        assert spec.type is None
        assert spec.others == {"anyOf": [{"type": "string"}, {"type": "null"}]}

    def test_shorthand_inside_a_list(self, write):
        text = "properties: {meta: {x: {type: array, items: {a: {type: Boolean}}}}}"
        items = load_schema(write("s.yaml", text)).keywords["meta.x"].others["items"]
        assert items == {"type": "object", "properties": {"a": {"type": "boolean"}}}

    def test_annotations_of_other_tools_are_ignored(self, write):
        text = "id: x\nproperties: {meta: {x: {type: string, blend_table: True, unit: s}}}"
        assert load_schema(write("s.yaml", text)).keywords["meta.x"].others == {}


class TestMerging:
    def test_later_parts_add_and_override(self, write):
        write("a.yaml", "properties: {meta: {x: {type: string, title: A}, y: {type: string}}}")
        text = """
        allOf:
        - $ref: a.yaml
        - properties: {meta: {x: {title: B}}}
        properties: {meta: {z: {type: integer}}}
        """
        schema = load_schema(write("b.yaml", text))
        assert list(schema.keywords) == ["meta.x", "meta.y", "meta.z"]
        assert (schema.keywords["meta.x"].title, schema.keywords["meta.x"].type) == ("B", "string")

    def test_references_are_relative_to_the_file_that_makes_them(self, write):
        write("parts/leaf.yaml", "properties: {meta: {x: {type: string}}}")
        write("parts/middle.yaml", "allOf: [{$ref: leaf.yaml}]")
        schema = load_schema(write("top.yaml", "$ref: parts/middle.yaml"))
        assert list(schema.keywords) == ["meta.x"]

    def test_a_reference_may_point_into_a_file(self, write):
        text = """
        definitions: {flag: {type: string, enum: [A, B]}}
        properties: {meta: {x: {$ref: "#/definitions/flag", fits_keyword: X}}}
        """
        spec = load_schema(write("s.yaml", text)).keywords["meta.x"]
        assert (spec.enum, spec.keyword) == (("A", "B"), "X")

    def test_required_names_add_up(self, write):
        field = "{fits_hdu: H, datatype: int8}"
        write("a.yaml", f"required: [p]\nproperties: {{p: {field}, q: {field}, r: {field}}}")
        schema = load_schema(write("b.yaml", "allOf: [{$ref: a.yaml}, {required: [q]}]"))
        assert [name for name, spec in schema.fields.items() if spec.required] == ["p", "q"]

    @given(st.permutations(["program", "instrument", "exposure", "dither"]))
    def test_the_order_of_parts_is_the_order_of_keywords(self, tmp_path_factory, names):
        path = tmp_path_factory.mktemp("schema") / "s.yaml"
        path.write_text(yaml.safe_dump({"allOf": [{"$ref": f"{n}.schema"} for n in names]}))
        found = [spec.path.split(".")[1] for spec in load_schema(path).keywords.values()]
        expected = [s.path.split(".")[1] for n in names for s in load_schema(n).keywords.values()]
        assert found == expected


class TestColumns:
    """Lists of columns, which may include those of other lists."""

    def test_the_columns_of_a_reference_take_its_place(self, write):
        write("part.yaml", "definitions: {keys: [{name: filter, datatype: [ascii, 12]}]}")
        text = """
        definitions: {last: [{name: pupil, datatype: [ascii, 9]}, $ref: "#/definitions/flux"],
                      flux: [{name: flux, datatype: float32}]}
        properties:
          table:
            datatype:
            - $ref: "part.yaml#/definitions/keys"
            - {name: order, datatype: int16}
            - $ref: "#/definitions/last"
        """
        schema = load_schema(write("whole.yaml", text))
        kinds = [("filter", "S12"), ("order", "i2"), ("pupil", "S9"), ("flux", "f4")]
        assert schema.fields["table"].dtype == kinds
        assert [source.name for source in schema.files] == ["whole.yaml", "part.yaml"]

    @pytest.mark.parametrize(
        ("target", "fault"),
        [
            ("#/definitions/text", "is not a list of columns"),
            ("#/definitions/gone", "has no '/definitions/gone'"),
            ("gone.yaml", "no such schema"),
            ("#/definitions/itself", "contains itself"),
        ],
    )
    def test_other_references_are_refused(self, write, target, fault):
        text = f"""
        definitions: {{text: some, itself: [$ref: "#/definitions/itself"]}}
        properties: {{table: {{datatype: [$ref: "{target}"]}}}}
        """
        path = write("s.yaml", text)
        with pytest.raises(SchemaError, match=fault) as error:
            load_schema(path)
        assert str(error.value).startswith(str(path))


class TestFinding:
    def test_in_a_package(self, tmp_path, monkeypatch):
        (tmp_path / "users_package").mkdir()
        (tmp_path / "users_package" / "__init__.py").touch()
        (tmp_path / "users_package" / "mine.yaml").write_text(SCHEMA)
        monkeypatch.syspath_prepend(tmp_path)
        assert "dq" in load_schema("users_package:mine.yaml").fields

    def test_a_changed_file_is_read_again(self, write):
        path = write("s.yaml", "$ref: part.yaml")
        part = write("part.yaml", "properties: {meta: {x: {type: string}}}")
        before = load_schema(path)
        assert load_schema(path) is before
        part.write_text("properties: {meta: {y: {type: string}}}")
        assert list(load_schema(path).keywords) == ["meta.y"]

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("nowhere.yaml", "no such schema"),
            ("no_such_package_here:a.yaml", "cannot import"),
            ("calbatch:absent.yaml", "has no file 'absent.yaml'"),
            ("http://example.org/core.schema", "never downloaded"),
        ],
    )
    def test_missing_schemas_are_named(self, name, fault):
        with pytest.raises(SchemaError, match=rf"^{re.escape(name)}.*{fault}"):
            load_schema(name)
