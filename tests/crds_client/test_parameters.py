"""Parameter references as stpipe writes them."""

import re

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stpipe._config import StepConfig

from calbatch.crds_client.errors import HeaderError
from calbatch.crds_client.parameters import parameter_type, read_parameters

PARAMETERS = {"rejection_threshold": 4.5, "skip": False, "name": None, "hooks": [], "n": 3}


def test_a_steps_parameters(tmp_path):
    path = tmp_path / "jwst_nircam_pars-jumpstep_0001.asdf"
    with StepConfig("jwst.jump.JumpStep", "jump", PARAMETERS, []).to_asdf() as tree:
        tree.write_to(path)
    got = read_parameters(path)
    assert (got.class_name, got.name, got.source) == ("jwst.jump.JumpStep", "jump", path.name)
    assert got.parameters == PARAMETERS
    assert got.steps == {}


def test_a_pipelines_parameters(tmp_path):
    path = tmp_path / "pars.asdf"
    jump = StepConfig("jwst.jump.JumpStep", "jump", {"skip": True}, [])
    pipeline = StepConfig("jwst.pipeline.Detector1Pipeline", "d1", {"save": True}, [jump])
    with pipeline.to_asdf() as tree:
        tree.write_to(path)
    got = read_parameters(path)
    assert got.parameters == {"save": True}
    assert got.steps == {"jump": {"skip": True}}


def test_reference_type_of_a_step():
    assert parameter_type("JumpStep") == "pars-jumpstep"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("no asdf", "not an ASDF file"),
        ("#ASDF 1.0.0\n--- [1\n", "is not YAML"),
        ("#ASDF 1.0.0\n--- [1, 2]\n", "not a mapping"),
        ("#ASDF 1.0.0\n--- {a: 1}\n", "no parameters"),
        ("#ASDF 1.0.0\n--- {parameters: {}, steps: [{}]}\n", "step without a name"),
        ("#ASDF 1.0.0\n--- " + "[" * 1100 + "\n", r"\S"),
    ],
)
def test_other_files_are_rejected(tmp_path, content, fault):
    path = tmp_path / "x.asdf"
    path.write_text(content + "...\n")
    with pytest.raises(HeaderError, match=rf"^{path}: .*{fault}"):
        read_parameters(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_truncated_file_is_rejected_wherever_it_ends(tmp_path, end):
    path = tmp_path / "x.asdf"
    lines = ["#ASDF 1.0.0", "---", "parameters:", "  rejection_threshold: 12.5", "  skip: false"]
    whole = end.join([*lines, "...", ""]).encode()
    path.write_bytes(whole)
    assert read_parameters(path).parameters == {"rejection_threshold": 12.5, "skip": False}
    for length in range(whole.index(b"...") + 3):
        path.write_bytes(whole[:length])
        with pytest.raises(HeaderError, match=f"^{path}: "):
            read_parameters(path)


def test_tags_construct_no_objects(tmp_path):
    path = tmp_path / "x.asdf"
    mark = tmp_path / "executed"
    call = f"!!python/object/apply:os.system ['touch {mark}']"
    path.write_text(f"#ASDF 1.0.0\n--- {{parameters: {{a: {call}, b: !mine {{c: 1}}}}}}\n...\n")
    assert read_parameters(path).parameters == {"a": [f"touch {mark}"], "b": {"c": 1}}
    assert not mark.exists()


NASTY = [
    "!!int ''", "!!bool maybe", "!!timestamp hello", "!!float x", "!!set [a]",
    "!!omap 5", "!!pairs [[]]", "{[a]: b}", "{? {a: b} : c}", "1" * 6000, "0x" + "f" * 9000,
    ":".join(["1"] * 200_000), ":".join(["1"] * 3000) + ".5", "[" * 3000, "{a: " * 3000,
    "[" * 200 + "]" * 200, "&a [*a]", "{x: &b {y: *b}}", "*nothing", "{<<: 5}", "{<<: [1]}",
    "2020-13-45", '"\\ud800', "@", "%",
]  # fmt: skip


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_any_exception_of_yaml_becomes_an_error_about_the_file(tmp_path, value):
    path = tmp_path / "x.asdf"
    path.write_text(f"#ASDF 1.0.0\n---\nparameters:\n  a: {value}\n...\n")
    with pytest.raises(HeaderError, match=f"^{path}: "):
        read_parameters(path)


ONES = ["parameters: {}", "steps: [{name: jump}]"]


@pytest.mark.parametrize(
    "line",
    ["parameters: 5", "parameters: {1: 2}", "parameters: {~: 1}", "steps: 5", "steps: {a: b}",
     "steps: [5]", "steps: [{name: 5}]", "steps: [{name: a, parameters: [1]}]",
     "steps: [{name: a, parameters: {true: 1}}]", "parameters: [a, b]"],
)  # fmt: skip
def test_trees_of_another_form_are_rejected(tmp_path, line):
    path = tmp_path / "x.asdf"
    others = [one for one in ONES if one.split(":")[0] != line.split(":")[0]]
    path.write_text("\n".join(["#ASDF 1.0.0", "---", *others, line, "..."]))
    with pytest.raises(HeaderError, match=f"^{path}: ") as caught:
        read_parameters(path)
    assert "Error" not in str(caught.value)  # the words are ours, not those of an exception


@pytest.mark.parametrize("merge", ["k: [{}]", "<<: [{}]"])
def test_a_tree_that_repeats_itself_is_rejected_before_it_is_built(tmp_path, merge):
    path = tmp_path / "x.asdf"
    levels = [
        f"a{n}: &a{n} {{{merge.format(', '.join([f'*a{n - 1}'] * 9))}}}" for n in range(1, 40)
    ]
    lines = ["#ASDF 1.0.0", "---", "a0: &a0 {x: 1}", *levels, "parameters: {}", "..."]
    path.write_text("\n".join(lines))
    with pytest.raises(HeaderError, match="repeated ones counted again"):
        read_parameters(path)


def test_aliases_and_merge_keys_are_read(tmp_path):
    path = tmp_path / "x.asdf"
    text = "#ASDF 1.0.0\n---\na: &a {x: 1, y: [2]}\nparameters: {b: *a, c: {<<: *a, y: 3}}\n...\n"
    path.write_text(text)
    assert read_parameters(path).parameters == {"b": {"x": 1, "y": [2]}, "c": {"x": 1, "y": 3}}


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast one, which takes a tab after a mapping for space, unlike the other."""


def parameters_in(text):
    """Return the parameters in the tree of an ASDF file by PyYAML alone; None if there are none."""
    try:
        tree = yaml.load(re.split(r"\n\.\.\.(?=\n|$)", text)[0], LOADER)
        parameters = tree["parameters"]
    except (yaml.YAMLError, ValueError):
        return None
    valid = isinstance(parameters, dict) and all(isinstance(name, str) for name in parameters)
    return parameters if valid else None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("ab:-[]{}&*<?|>'\"#%@`, \n\t~1.", max_size=60) | st.from_regex(r"\{a: .{1,9}\}"))
@example("{a: [b, 1.5, {b: ~}]}")
@example("{a: 0}\t")
def test_any_text_is_read_like_yaml_or_is_an_error_about_the_file(tmp_path, text):
    path = tmp_path / "x.asdf"
    path.write_text(f"#ASDF 1.0.0\n---\nparameters: {text}\n...\n")
    expected = parameters_in(path.read_text())
    if expected is None:
        with pytest.raises(HeaderError, match=f"^{path}: "):
            read_parameters(path)
    else:
        assert read_parameters(path).parameters == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("ab/.-", max_size=12))
def test_tags_are_ignored(tmp_path, tag):
    path = tmp_path / "x.asdf"
    path.write_text(f"#ASDF 1.0.0\n---\nparameters: {{a: !{tag} b, c: !{tag} [5]}}\n...\n")
    assert read_parameters(path).parameters == {"a": "b", "c": [5]}
