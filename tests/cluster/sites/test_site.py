"""The interface of sites: each site has all of its methods, with its parameters."""

import inspect
from types import SimpleNamespace

import pytest
from support.fakes import FakeSite

from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.in_process import InProcess
from calbatch.cluster.sites.site import Site

METHODS = [name for name, member in vars(Site).items() if inspect.isfunction(member)]
METHODS = [name for name in METHODS if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("site", [InProcess, DaskSite, FakeSite])
def test_a_site_has_each_method_of_the_interface(site, name):
    expected = inspect.signature(getattr(Site, name)).parameters
    found = inspect.signature(getattr(site, name)).parameters
    assert [(p.name, p.kind, p.default) for p in found.values()] == [
        (p.name, p.kind, p.default) for p in expected.values()
    ]


def test_the_interface_has_the_methods_that_drivers_use():
    assert set(METHODS) == {
        "room", "submit", "collect", "running_numbers", "find_silent", "discard_worker", "withdraw",
    }  # fmt: skip


@pytest.mark.parametrize(
    "site",
    [InProcess(0), DaskSite(SimpleNamespace(scheduler_comm=None), "exposure", "on two workers")],
)
def test_a_site_describes_itself(site):
    assert site.description.split()[0] in ("in", "on")
    assert site.dashboard is None
