"""A bad reference, rules file or parameter reference fails its exposures, not the batch."""

import re

import pytest
from astropy.io import fits
from stpipe._config import StepConfig
from support.batches import copy_changed, quiet_console
from support.crds_server import write_mapping
from support.parameter_references import PARKEY, add_parameters, copy_cache
from support.simulated import small_exposure

from calbatch.calibrate.references import CrdsReferences
from calbatch.cluster import run
from calbatch.cluster.planning.planner import Planner
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.crds_client.rules.mapping import mapping_checksum

# stpipe writes the parameter references of these tests
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

VALUES = [
    "!!int ''", "!!bool maybe", "!!timestamp hello", "!!float x", "!!binary '*'", "{1: 2}",
    "{[a]: b}", "1" * 6000, "0x" + "f" * 9000, ":".join(["1"] * 5000), "[" * 3000, "&a [*a]",
    "{<<: 5}", "2020-13-45",
]  # fmt: skip
BOMB = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{f'*a{n - 1}, ' * 9}]}}" for n in range(1, 40))]
TREES = [
    *(f"parameters: {{rejection_threshold: {value}}}" for value in VALUES),
    "parameters: {5: 6}", "parameters: {~: 6}", "parameters: 5", "parameters: {}\nsteps: 5",
    "parameters: {}\nsteps: [5]", "parameters: {}\nsteps: [{name: [1]}]",
    "parameters: {}\nsteps: [{name: jump, parameters: 5}]",
    "parameters: {}\nsteps: [{name: jump, parameters: {7: 8}}]",
    "\n".join([*BOMB, "parameters: {}"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Return a cache whose parameter references differ by readout pattern, and two exposures."""
    exposure = small_exposure("NIS", shape=(24, 32), ngroups=4)
    folder = tmp_path_factory.mktemp("bad")
    crds = copy_cache(exposure, folder / "crds")
    jump = StepConfig("jwst.jump.JumpStep", "jump", {"rejection_threshold": 4.5}, [])
    good, other = exposure.header["READPATT"], "NISRAPID"
    other = "NIS" if good == "NISRAPID" else "NISRAPID"
    (dark,) = crds.rglob("*_dark_*.rmap")
    text = dark.read_text()
    changed_text = text.replace(f"'{good}'", "'NIS|NISRAPID'")
    dark.write_text(changed_text.replace(mapping_checksum(text), mapping_checksum(changed_text)))
    names = add_parameters(crds, "pars-jumpstep", {good: jump, other: jump})
    bad = copy_changed(exposure.path, folder / "bad_uncal.fits", READPATT=other)
    (reference,) = crds.rglob(names[other])
    return crds, exposure.path, bad, reference


@pytest.fixture
def cache(setting, monkeypatch):
    for name in ("CRDS_SERVER_URL", "STPIPE_DISABLE_CRDS_STEPPARS", "CALBATCH_NO_PARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CRDS_PATH", str(setting[0]))
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0001.pmap")
    monkeypatch.setenv("CRDS_MODE", "local")
    return setting


def outcome(output, *exposures, pipeline="detector1", **options):
    """Run a batch, and return the failures by file."""
    result = run(
        pipeline, exposures, output, scheduler="sync", fsync=False, console=quiet_console(),
        **options,
    )  # fmt: skip
    assert result.exit_status == bool(result.failed)
    return {failed.path.name: failed.error for failed in result.failed}


def test_each_parameter_reference_fails_its_exposures(cache, tmp_path):
    _, good, bad, reference = cache
    sound = reference.read_bytes()
    told = []
    try:
        for number, tree in enumerate(TREES):
            reference.write_text(f"#ASDF 1.0.0\n---\n{tree}\n...\n")
            # A good exposure comes first in one batch, and shows that the batch goes on.
            given = (good, bad) if number == 0 else (bad,)
            failed = outcome(tmp_path / f"out{number}", *given)
            assert list(failed) == [bad.name], tree[:60]
            told.append(failed[bad.name])
    finally:
        reference.write_bytes(sound)
    assert [text for text in told if reference.name not in text] == []
    assert not [text for text in told if "defect in calbatch" in text]


BAD_RULES = {
    "nested": "Match({'NIS': " + "(" * 150 + "'x'" + ")" * 150 + "})",
    "another name": "Match({'N/A': UseAfter({'1900-01-01 00:00:00': '../../../x.asdf'})})",
    "not a name": "Match({'N/A': UseAfter({'1900-01-01 00:00:00': ''})})",
    "a runaway expression": r"Match({r'((N)\1)': UseAfter({'1900-01-01 00:00:00': 'x.asdf'})})",
    "mixed dates": "Match({'N/A': UseAfter({'1900-01-01 00:00:00': {'a': ('b', 'c')}})})",
    "no version": "Match({'N/A': SelectVersion({'<(1': 'y'})})",
}


@pytest.mark.parametrize("name", BAD_RULES)
def test_a_rules_file_fails_its_exposures(cache, tmp_path, name):
    crds, good, bad, _ = cache
    (path,) = crds.rglob("*pars-jumpstep*.rmap")
    sound = path.read_bytes()
    header = {"mapping": "REFERENCE", "filekind": "PARS-JUMPSTEP", "parkey": PARKEY}
    write_mapping(path.parent, path.name, {**header, "instrument": "NIRISS"}, BAD_RULES[name])
    try:
        failed = outcome(tmp_path / "out", good, bad)
    finally:
        path.write_bytes(sound)
    named = re.compile(r"rmap|plain name|several|not in the cache")
    assert [error for error in failed.values() if not named.search(error)] == []
    assert bad.name in failed


@pytest.fixture
def damaged_rules(cache):
    """Cut the rules for gains short, and return their name."""
    (path,) = cache[0].rglob("*_gain_*.rmap")
    sound = path.read_bytes()
    path.write_bytes(sound[: len(sound) // 2])
    yield path.name
    path.write_bytes(sound)


def test_damaged_rules_are_not_reported_as_a_missing_reference_of_another_type(
    cache, damaged_rules, tmp_path
):
    for pars in (True, False):
        (error,) = outcome(tmp_path, cache[1], pars=pars).values()
        assert error.startswith(f"{cache[1]}: references cannot be chosen: {damaged_rules}:")


def test_damaged_rules_cannot_hide_parameters_of_a_step_without_references(
    cache, damaged_rules, tmp_path
):
    (error,) = outcome(tmp_path, cache[1], pipeline="group_scale").values()
    assert f"parameter references cannot be chosen: {damaged_rules}:" in error
    assert error.endswith("; --no-pars disables them")
    assert outcome(tmp_path, cache[1], pipeline="group_scale", pars=False) == {}


class Failing(CrdsReferences):
    """References that raise an unexpected exception for one file."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def resolve_all(self, groups, *arguments, **options):
        groups = list(groups)
        if any(h["meta.filename"] == self.name for headers, _ in groups for h in headers.values()):
            raise ZeroDivisionError(self.name)
        return super().resolve_all(groups, *arguments, **options)


def test_an_unexpected_exception_fails_only_its_exposure(cache, tmp_path):
    _, good, _, _ = cache
    names = [f"e{number}_uncal.fits" for number in range(3)]
    inputs = [
        (number, copy_changed(good, tmp_path / name, FILENAME=name))
        for number, name in enumerate(names)
    ]
    step = configure_step("detector1")
    planner = Planner(step, Failing(names[1]), use_pars=False)
    planned = planner.plan_block(inputs)
    assert [type(p.error) for p in planned] == [type(None), ZeroDivisionError, type(None)]
    assert all(p.references.chosen for p in planned if p.error is None)


def test_a_table_of_flags_fails_its_exposures(cache, tmp_path):
    crds, good, _, _ = cache
    (path,) = crds.rglob("*_mask_*.fits")
    sound = path.read_bytes()
    with fits.open(path) as hdus:
        at = hdus["DQ_DEF"].fileinfo()["hdrLoc"]
    start = sound.index(b"TFIELDS =", at)
    absurd = f"TFIELDS = {2**63 - 1:>20}".encode()
    path.write_bytes(sound[:start] + absurd + sound[start + len(absurd) :])
    try:
        failed = outcome(tmp_path / "out", good)
    finally:
        path.write_bytes(sound)
    assert f"{path}: HDU" in failed[good.name]
    assert "TFIELDS = 9223372036854775807 is not between 0 and 999" in failed[good.name]
