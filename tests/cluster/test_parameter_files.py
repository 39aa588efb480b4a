"""Parameters through ``batch.cfg``: each value is read as it was written, or refused."""

import pytest
from support.batches import DATE, calbatch, quiet_console

from calbatch import cluster
from calbatch.cluster.batch.registering import resume_batch
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import View
from calbatch.cluster.planning.identity import settings_digest
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models import datamodels

HOOKS = ["calbatch.models.datamodels:open", "echo 'a, b' {0}", "m.S(a=1, b='x')"]


def run_batch(simulated, folder, **values):
    parameters = {"": {"skip": True, **values}}
    result = cluster.run(
        "superbias", simulated.exposures[:1], folder, scheduler="sync", date=DATE, fsync=False,
        console=quiet_console(), parameters=parameters,
    )  # fmt: skip
    assert result.exit_status == 0
    return result


def test_batch_cfg_holds_the_parameters_of_the_batch(simulated, tmp_path):
    values = {"suffix": "odd, 'x' # \\", "post_hooks": HOOKS}
    result = run_batch(simulated, tmp_path, **values)
    step = resume_batch(result.folder).step
    assert {name: getattr(step, name) for name in values} == values
    with View(result.folder.state) as view:
        kept = view.batch(result.batch.name).parameters[""]
    assert kept["suffix"][0] == values["suffix"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("post_hooks", [lambda model: model], "the hook .*<lambda>"),
        ("override_superbias", datamodels.SuperBiasModel((4, 4)), "SuperBiasModel in memory"),
    ],
)
def test_values_that_exist_only_in_python_are_never_left_out(
    simulated, tmp_path, name, value, told
):
    result = run_batch(simulated, tmp_path, **{name: value})
    with pytest.raises(RequestError, match=f"{name} was set in Python \\({told}\\).*again"):
        resume_batch(result.folder)


def test_a_value_that_no_file_can_hold_is_refused(simulated, tmp_path):
    with pytest.raises(RequestError, match=r"suffix = .*cannot hold this mixture"):
        run_batch(simulated, tmp_path / "out", suffix="'''\"\"\"")
    assert not list(tmp_path.glob("out/.calbatch*/*/batch.cfg"))


def test_a_model_in_memory_is_recorded_as_one(simulated, tmp_path):
    model = datamodels.open(next(simulated.crds.rglob("*_superbias_*.fits")))
    model.data = model.data + 1
    model.path = None
    result = run_batch(simulated, tmp_path, skip=False, override_superbias=model)
    with View(result.folder.state) as view:
        (row,) = view.exposures(result.batch.id, "done")
        recorded = view.references(row.id)["superbias.override_superbias"]
    assert tuple(recorded) == ("<SuperBiasModel in memory>",) * 2


def test_another_model_calibrates_again(simulated, tmp_path):
    models = [datamodels.SuperBiasModel((4, 4)) for _ in range(2)]
    steps = [
        configure_step("superbias", parameters={"": {"override_superbias": m}}) for m in models
    ]
    digests = [settings_digest(step, None) for step in (*steps, configure_step("superbias"))]
    assert len(set(digests)) == 3
    assert settings_digest(steps[0], None) == digests[0]


def test_params_reads_its_own_output(tmp_path):
    values = {"suffix": "odd, 'x' # \\", "pre_hooks": "wc -c {0}, a", "output_dir": " a,b "}
    options = [f"--{name}={value}" for name, value in values.items()]
    first = calbatch("params", "superbias", *options, "--as-cfg")
    path = tmp_path / "my.cfg"
    path.write_text(first.out)
    step = configure_step(path)
    assert (step.suffix, step.output_dir) == (values["suffix"], values["output_dir"])
    assert step.pre_hooks == [values["pre_hooks"]]
    again = calbatch("params", path, "--as-cfg")
    plain = [
        [line for line in completed.out.splitlines() if line[0] != "#"]
        for completed in (first, again)
    ]
    assert plain[0] == plain[1]
