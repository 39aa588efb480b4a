"""Clusters of any class."""

import socket
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import psutil
import pytest
from support.batches import small_set
from support.placed import calibrate_all, double, make_importable

from calbatch.cluster import RequestError
from calbatch.cluster.sites.custom import open_cluster
from calbatch.cluster.sites.options import ClusterOptions

LOCAL = "distributed.LocalCluster"
HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
NONE = {**HERE, "protocol": "tcp", "n_workers": 0, "processes": False}


def refusal(grain="exposure", **given):
    """Return the message with which a cluster is refused."""
    with pytest.raises(RequestError) as told, open_cluster(ClusterOptions(**given), grain):
        raise AssertionError("it was taken")
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        (LOCAL, {}),
        ("distributed.deploy.local:LocalCluster", {"processes": False, "protocol": "tcp"}),
    ],
)
def test_a_class_by_its_path(tmp_path, monkeypatch, path, more):
    make_importable(monkeypatch)
    arguments = {**HERE, "n_workers": 1, "threads_per_worker": 1, **more}
    with open_cluster(ClusterOptions(path, arguments), "exposure") as site:
        client, address = site.client, site.client.scheduler.address
        assert client.submit(double, 4).result() == 8
        outcomes = calibrate_all(site, small_set().exposures, tmp_path)
        assert [outcome.error for outcome in outcomes] == ["", "", ""]
        assert site.description == "LocalCluster with 1 worker so far"
        assert site.dashboard.startswith("http://127.0.0.1:")
    host, port = address.removeprefix("tcp://").split(":")
    with pytest.raises(ConnectionRefusedError):  # it is closed
        socket.create_connection((host, int(port)), 1)


def test_workers_are_asked_for():
    options = ClusterOptions(LOCAL, {**NONE, "threads_per_worker": 1}, workers=2)
    with open_cluster(options, "tile") as site:
        site.client.wait_for_workers(2, timeout=120)
        assert len(site.client.nthreads()) == 2


def test_none_comes():
    told = refusal(path=LOCAL, arguments=NONE, patience=0.5)
    assert told.endswith("no worker arrived within 0.5 s; does it need the option `workers`?")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "cluster '': must be like dask_gateway.GatewayCluster"),
        ("LocalCluster", "must be like dask_gateway.GatewayCluster"),
        ("no_such_package.Cluster", "'no_such_package'; is it installed?"),
        ("distributed.LokalCluster", "distributed has no LokalCluster"),
        ("distributed.wait", "is not a class"),
        ("collections.Counter", "is not a dask cluster class"),
    ],
)
def test_other_things_than_clusters_are_refused(path, message):
    assert message in refusal(path=path)


def test_arguments_that_cannot_be_are_said():
    told = refusal(path=LOCAL, arguments={**NONE, "n_workers": 1, "colour": "red"})
    assert "distributed.LocalCluster: cannot be created: " in told
    assert "colour" in told


def test_unencrypted_on_other_addresses_is_refused():
    found = {a.address for each in psutil.net_if_addrs().values() for a in each if a.family == 2}
    others = sorted(a for a in found if not a.startswith("127."))
    if not others:
        pytest.skip("this machine has no other address than its own loopback")
    arguments = {**NONE, "host": others[0]}
    assert "anybody who reaches it can run" in refusal(path=LOCAL, arguments=arguments)
    options = ClusterOptions(LOCAL, arguments, workers=1, insecure=True)
    with open_cluster(options, "exposure") as site:
        assert site.client.submit(double, 4).result() == 8


class ForeignCluster:
    """The parts of a cluster class that is not derived from dask's own."""

    scheduler_address = "tls://127.0.0.1:8786"
    is_closed = False

    def get_client(self, set_as_default):
        return nullcontext(SimpleNamespace(nthreads=dict))

    def close(self):
        type(self).is_closed = True


class UnreachableCluster(ForeignCluster):
    def get_client(self, set_as_default):
        raise OSError("the gateway\nis gone")


class FixedCluster(ForeignCluster):
    def scale(self, workers):
        raise NotImplementedError("it has two")


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (UnreachableCluster, {}, "no connection: the gateway is gone"),
        (FixedCluster, {"workers": 3}, "cannot scale to 3 workers: it has two"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_closed(monkeypatch, cls, options, message):
    module = ModuleType("their_clusters")
    module.Cluster = cls
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert refusal(path="their_clusters.Cluster", **options) == (
        f"cluster their_clusters.Cluster: {message}"
    )
    assert cls.is_closed
