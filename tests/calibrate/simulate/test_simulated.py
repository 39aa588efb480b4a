import pytest
from support.simulated import small_exposure

from calbatch.calibrate.simulate import PRESETS, SimulationSpec, simulate
from calbatch.calibrate.simulate.readout_plan import plan_readout


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


SPEC = SimulationSpec("NIS", "SUB64", nints=2, ngroups=3, full_references=False)


def test_same_arguments_write_the_same_bytes(tmp_path):
    simulate(tmp_path / "a", spec=SPEC, exposures=2, seed=5)
    simulate(tmp_path / "b", spec=SPEC, exposures=2, seed=5)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_exposure_does_not_depend_on_the_number_of_exposures(tmp_path):
    one = simulate(tmp_path / "a", spec=SPEC, exposures=1)
    three = simulate(tmp_path / "b", spec=SPEC, exposures=3)
    assert one.exposures[0].read_bytes() == three.exposures[0].read_bytes()


def test_exposures_and_seeds_differ(tmp_path):
    simulated = simulate(tmp_path / "a", spec=SPEC, exposures=2)
    other = simulate(tmp_path / "b", spec=SPEC, exposures=1, seed=1)
    bytes_written = {path.read_bytes() for path in [*simulated.exposures, *other.exposures]}
    assert len(bytes_written) == 3


def test_small_exposures_are_made_once():
    assert small_exposure("NIRISS", seed=3) is small_exposure("NIRISS", seed=3)
    assert small_exposure("NIRISS", seed=3).path != small_exposure("NIRISS", seed=4).path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": "nothing"}, "no preset 'nothing': choose one of demo"),
        ({"spec": []}, "no specs given"),
        ({"exposures": 0}, "exposures=0"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(tmp_path, **arguments)
    assert not any(tmp_path.iterdir())


def test_two_sizes_of_one_subarray_name_are_refused(tmp_path):
    specs = [
        SimulationSpec(subarray="GENERIC", shape=shape, ngroups=2, full_references=False)
        for shape in ((8, 8), (16, 16))
    ]
    with pytest.raises(ValueError, match="give the subarrays different names"):
        simulate(tmp_path, spec=specs)


@pytest.mark.ci
def test_full_references_serve_several_subarrays(tmp_path):
    specs = [
        SimulationSpec("GUIDER1", "SUB32LL", ngroups=2),
        SimulationSpec("GUIDER1", "SUB32CNTR", ngroups=2),
    ]
    simulated = simulate(tmp_path, spec=specs, exposures=1)
    names = [path.name for path in (simulated.crds / "references").rglob("*.fits")]
    assert sum("_gain_" in name for name in names) == 1
    assert sum("_dark_" in name for name in names) == 2


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_read_out(preset):
    for spec in PRESETS[preset]:
        readout = plan_readout(spec)
        assert readout.total_frames >= readout.ngroups


def test_files_of_a_mixed_set_are_apart(tmp_path):
    simulated = simulate(tmp_path, spec="mixed", exposures=2)
    assert len({path.name for path in simulated.exposures}) == 10
    assert all(path.is_file() for path in [*simulated.exposures, *simulated.truths])
    assert (simulated.crds / "mappings" / "jwst" / simulated.context).is_file()
    assert not list(tmp_path.rglob("*.part"))
