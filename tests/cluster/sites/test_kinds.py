"""Kinds of sites: the built-in ones, and those that other packages add."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites import kinds, local, remote
from calbatch.cluster.sites.custom import open_cluster
from calbatch.cluster.sites.kinds import GROUP, KINDS, SiteKind, find_kind, kind_names
from calbatch.cluster.sites.options import (
    AddressOptions,
    ClusterOptions,
    LocalOptions,
    SlurmOptions,
)
from calbatch.cluster.sites.slurm.job_options import single_worker_job


@dataclass(frozen=True)
class PoolOptions:
    """Options of a kind from elsewhere."""

    size: int = 3


class PoolKind(SiteKind[PoolOptions]):
    """A kind from elsewhere."""

    options = PoolOptions


class WithoutOptions(SiteKind):
    """A kind that declares no options."""


broken = SimpleNamespace()


@pytest.fixture
def added(monkeypatch):
    """Add kinds through entry points of this module."""
    points = [
        EntryPoint("pool", f"{__name__}:PoolKind", GROUP),
        EntryPoint("local", f"{__name__}:PoolKind", GROUP),
        EntryPoint("gone", "no_such_package:Kind", GROUP),
        EntryPoint("broken", f"{__name__}:broken", GROUP),
        EntryPoint("bare", f"{__name__}:WithoutOptions", GROUP),
    ]
    monkeypatch.setattr(kinds, "entry_points", lambda group: points if group == GROUP else [])


def test_built_in_kinds_come_first(added):
    assert kind_names() == [*KINDS, "bare", "broken", "gone", "pool"]


def test_an_entry_point_adds_a_kind(added):
    kind = find_kind("pool")
    assert type(kind) is PoolKind
    assert kind.options() == PoolOptions(3)


def test_no_entry_point_replaces_a_built_in_kind(added):
    assert find_kind("local") is KINDS["local"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slurmm", r"kind 'slurmm': unknown \(did you mean 'slurm'\?\); kinds are local, slurm, "),
        ("xyz", r"kind 'xyz': unknown; kinds are local, slurm, address, cluster, bare, "),
        ("gone", "kind gone: no_such_package:Kind cannot be imported: ModuleNotFoundError"),
        ("broken", r"kind broken: .*:broken is not a subclass of SiteKind"),
        ("bare", r"kind bare: .*:WithoutOptions has no dataclass `options`"),
    ],
)
def test_a_kind_that_cannot_be_used_is_named(added, name, message):
    with pytest.raises(RequestError, match=message):
        find_kind(name)


def test_a_kind_has_no_driver_job_and_one_size_unless_it_says_so():
    kind, options = PoolKind(), PoolOptions()
    assert kind.driver_job(options, "calbatch-x") is None
    assert kind.for_one_exposure(options) is options
    assert kind.end_jobs(options, "x") is None
    with pytest.raises(NotImplementedError):
        kind.open(options, "exposure", "x")


def test_one_exposure_has_all_memory_of_a_local_cluster():
    assert KINDS["local"].for_one_exposure(LocalOptions(8)) == LocalOptions(1)


def test_slurm_drives_in_a_job_and_has_larger_jobs_for_one_exposure():
    options = SlurmOptions(partition="long", cores=4)
    job = KINDS["slurm"].driver_job(options, "calbatch-x")
    assert (job.name, job.partition) == ("calbatch-x", "long")
    assert KINDS["slurm"].for_one_exposure(options) == single_worker_job(options)


@pytest.mark.parametrize(
    ("kind", "options", "module", "opener", "expected"),
    [
        ("local", LocalOptions(3), local, "open_local_cluster", (3, "tile")),
        ("local", LocalOptions(), local, "open_local_cluster", (7, "tile")),
        ("address", AddressOptions("tls://h:1"), remote, "open_scheduler", ("tls://h:1", "tile")),
    ],
)
def test_a_site_is_opened_with_its_options(monkeypatch, kind, options, module, opener, expected):
    opened = []
    monkeypatch.setattr(local, "affordable_workers", lambda: 7)
    monkeypatch.setattr(module, opener, lambda *given, **more: opened.append((given, more)))
    KINDS[kind].open(options, "tile", "")
    [(given, more)] = opened
    assert given == expected
    assert more == ({"insecure": False} if kind == "address" else {})


def test_a_cluster_needs_the_path_of_its_class():
    assert [name for name, kind in KINDS.items() if kind.required] == ["address", "cluster"]
    with pytest.raises(RequestError), open_cluster(ClusterOptions("no_such_package.C"), "exposure"):
        pass
