"""Planned exposures and their settings."""

import pytest
from support.fakes import plan

from calbatch.calibrate.references import ChosenReference, ResolvedReferences
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planned_exposure import StepSettings


@pytest.fixture
def sums():
    made = ReferenceChecksums(lambda *_: None, lambda *_: None)
    yield made
    made.close()


def settings(**parameters):
    return StepSettings(step=JumpStep(**parameters), digest="d", body={"": parameters})


def references(**files):
    chosen = {kind: ChosenReference(path, str(path)) for kind, path in files.items()}
    return ResolvedReferences("jwst_1.pmap", chosen)


def test_the_key_of_settings_depends_on_the_parameters():
    assert settings().key == settings().key
    assert settings().key != settings(rejection_threshold=5.0).key


def test_files_are_references_na_and_overrides(tmp_path):
    planned = plan(
        0,
        references=references(gain=tmp_path / "gain.fits", dark=None),
        settings=settings(override_readnoise=str(tmp_path / "r.fits")),
    )
    assert planned.files() == {
        "gain": str(tmp_path / "gain.fits"),
        "dark": "N/A",
        "jump.override_readnoise": str(tmp_path / "r.fits"),
    }


def test_the_identity_depends_on_the_contents_of_references(tmp_path, sums):
    paths = [tmp_path / folder / "gain.fits" for folder in "abc"]
    for path, content in zip(paths, (b"1", b"1", b"2"), strict=True):
        path.parent.mkdir()
        path.write_bytes(content)
    same, copied, other = (
        plan(0, references=references(gain=path)).identity(sums) for path in paths
    )
    assert same == copied != other


def test_without_a_header_there_is_no_identity(sums):
    assert plan(0, source=None).identity(sums) == ""
