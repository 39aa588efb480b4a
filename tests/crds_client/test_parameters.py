"""Parameter references, as stpipe writes them."""

import asdf
import pytest
from stpipe._config import StepConfig

from calbatch.crds_client.asdf_trees import flatten, read_tree
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


def test_arrays_are_left_where_they_are(tmp_path):
    import numpy as np

    path = tmp_path / "x.asdf"
    tree = {"roman": {"meta": {"instrument": {"name": "WFI"}}, "data": np.zeros(1000)}}
    asdf.AsdfFile(tree).write_to(path)
    flat = flatten(read_tree(path))
    assert flat["ROMAN.META.INSTRUMENT.NAME"] == "WFI"


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
def test_other_files_are_refused(tmp_path, content, fault):
    path = tmp_path / "x.asdf"
    path.write_text(content)
    with pytest.raises(HeaderError, match=rf"^{path}: .*{fault}"):
        read_parameters(path)


def test_a_tree_that_repeats_itself_without_end_is_refused(tmp_path):
    path = tmp_path / "x.asdf"
    levels = [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}, z: *a{n - 1}}}" for n in range(1, 40)]
    path.write_text("\n".join(["#ASDF 1.0.0", "---", "a0: &a0 {}", *levels, "..."]))
    with pytest.raises(HeaderError, match="more than"):
        flatten(read_tree(path))


def test_nothing_is_made_of_a_tag(tmp_path):
    path = tmp_path / "x.asdf"
    mark = tmp_path / "executed"
    call = f"!!python/object/apply:os.system ['touch {mark}']"
    path.write_text(f"#ASDF 1.0.0\n--- {{parameters: {{a: {call}, b: !mine {{c: 1}}}}}}\n")
    assert read_parameters(path).parameters == {"a": [f"touch {mark}"], "b": {"c": 1}}
    assert not mark.exists()
