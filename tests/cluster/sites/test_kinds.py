"""Kinds of sites: the built-in ones, and those of other packages."""

import dask
import pytest

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.in_process import InProcess
from calbatch.cluster.sites.kinds import KINDS, SiteKind, find_kind, kind_names
from calbatch.cluster.sites.named_sites import find_site, open_site, override_options, site_table
from calbatch.cluster.sites.options import LocalOptions, SlurmOptions

MODULE = '''
from contextlib import contextmanager
from dataclasses import dataclass

from calbatch.cluster.sites.in_process import InProcess
from calbatch.cluster.sites.kinds import SiteKind
from calbatch.cluster.sites.options import option


@dataclass(frozen=True)
class ShelfOptions:
    """A shelf of computers."""

    computers: int = option(2, "number of computers")
    rack: str = option("", "name of the rack")


class ShelfKind(SiteKind[ShelfOptions]):
    """Computers on a shelf."""

    options = ShelfOptions
    required = "rack"

    @contextmanager
    def open(self, options, grain, batch):
        yield InProcess(options.computers)


class Stranger:
    """Not a kind of site."""
'''

ENTRY_POINTS = """\
[calbatch.sites]
shelf = shelfsites:ShelfKind
local = shelfsites:ShelfKind
stranger = shelfsites:Stranger
gone = no_such_package:Kind
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Install a distribution that adds kinds of sites."""
    (tmp_path / "shelfsites.py").write_text(MODULE)
    info = tmp_path / "shelfsites-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelfsites\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("shelf")
def test_a_package_adds_a_kind_with_options_of_its_own():
    assert kind_names() == [*KINDS, "gone", "shelf", "stranger"]
    with dask.config.set({"calbatch.sites": {"mine": {"kind": "shelf", "rack": "a"}}}):
        site = override_options(find_site("mine"), {"computers": "3"})
    assert (site.options.computers, site.options.rack) == (3, "a")
    with open_site(site, "exposure") as running:
        assert isinstance(running, InProcess)
        assert running.threads == 3
    cells = [list(column.cells) for column in site_table([site]).columns]
    assert [str(cell) for cell in cells[4]] == ["number of computers", "name of the rack"]


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "shelf"}, "site mine: a site of kind shelf needs 'rack'"),
        ({"kind": "shelf", "racks": 1}, r"has no option 'racks' \(did you mean 'rack'\?\)"),
        ({"kind": "self"}, r"kind 'self': unknown \(did you mean 'shelf'\?\); kinds are local, "),
        ({"kind": "stranger"}, "kind stranger: shelfsites:Stranger is not a subclass of SiteKind"),
        ({"kind": "gone"}, "kind gone: no_such_package:Kind cannot be imported: ModuleNotFound"),
    ],
)
def test_wrong_kinds_and_options_are_rejected(entry, message):
    with (
        dask.config.set({"calbatch.sites": {"mine": entry}}),
        pytest.raises(RequestError, match=message),
    ):
        find_site("mine")


@pytest.mark.usefixtures("shelf")
def test_no_package_replaces_a_built_in_kind():
    assert find_kind("local") is KINDS["local"]


def test_a_kind_runs_drivers_in_the_background_by_default():
    class Plain(SiteKind[LocalOptions]):
        options = LocalOptions

    kind, options = Plain(), LocalOptions(3)
    assert kind.driver_job(options, "name") is None
    assert kind.for_one_exposure(options) == options
    kind.end_jobs(options, "batch")


def test_one_exposure_alone_has_more_memory():
    assert KINDS["local"].for_one_exposure(LocalOptions(4)) == LocalOptions(1)
    job = KINDS["slurm"].for_one_exposure(SlurmOptions(jobs=3, cores=2, memory="4GiB"))
    assert (job.jobs, job.cores, job.memory) == (1, 1, "4096MiB")


def test_the_driver_of_a_slurm_site_is_a_job():
    options = SlurmOptions(partition="long", driver_walltime="2:00", skip=("mem",))
    job = KINDS["slurm"].driver_job(options, "calbatch-x")
    assert (job.name, job.partition, job.walltime, job.warning) == (
        "calbatch-x",
        "long",
        "2:00",
        30,
    )
    assert job.skip == ("mem",)
