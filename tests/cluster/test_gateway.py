"""A real dask-gateway on this machine, with a backend of local processes."""

import gc
import sys
from importlib.util import find_spec
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from support.batches import small_set
from support.onehost import free_ports
from support.placed import calibrate_all, double, eventually, make_importable
from support.services import end_process, start_process

from calbatch.cluster import RequestError
from calbatch.cluster.sites.custom import open_cluster
from calbatch.cluster.sites.options import ClusterOptions

pytestmark = [
    pytest.mark.services,
    # dask-gateway's client closes itself again when it is collected, and warns
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function Gateway:pytest.PytestUnraisableExceptionWarning"
    ),
]

SETTINGS = """
import os
c.DaskGateway.address = "127.0.0.1:{http}"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.Proxy.address = "127.0.0.1:{proxy}"
c.UnsafeLocalBackend.clusters_directory = {folder!r}
c.UnsafeLocalBackend.cluster_heartbeat_period = 1
c.UnsafeLocalBackend.cluster_heartbeat_timeout = 60
c.UnsafeLocalBackend.inherited_environment = list(os.environ)
c.ClusterConfig.scheduler_cmd = [{python!r}, "-m", "distributed.cli.dask_scheduler"]
c.ClusterConfig.worker_cmd = [{python!r}, "-m", "distributed.cli.dask_worker"]
c.ClusterConfig.worker_cores = 1
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Run a gateway, and return the arguments of a cluster on it."""
    if find_spec("dask_gateway") is None or find_spec("dask_gateway_server") is None:
        pytest.skip("pip install dask-gateway 'dask-gateway-server[local]'")
    folder = tmp_path_factory.mktemp("gateway")
    http, proxy = free_ports(2)
    clusters = folder / "clusters"
    clusters.mkdir()
    settings = folder / "settings.py"
    settings.write_text(
        SETTINGS.format(http=http, proxy=proxy, folder=str(clusters), python=sys.executable)
    )
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        make_importable(patch)
        server = start_process(
            *(sys.executable, "-m", "dask_gateway_server", "--config", settings),
            log=log,
            cwd=folder,
        )
        try:
            address = f"http://127.0.0.1:{proxy}"
            eventually(lambda: _answers(f"{address}/api/health"))
            yield {"address": address}
        finally:
            end_process(server)


@pytest.fixture(autouse=True)
def _collected():
    """Collect garbage while the test's warning filters are in force."""
    yield
    gc.collect()


def _answers(url):
    try:
        with urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


def test_exposures_on_a_gateway(gateway, tmp_path):
    options = ClusterOptions("dask_gateway.GatewayCluster", gateway, workers=1, patience=60)
    with open_cluster(options, "exposure") as site:
        assert site.client.scheduler.address.startswith("gateway://")
        assert site.client.submit(double, 4).result() == 8
        outcomes = calibrate_all(site, small_set().exposures, tmp_path)
        assert [outcome.error for outcome in outcomes] == ["", "", ""]
        assert site.description == "GatewayCluster with 1 worker so far"


def test_an_unreachable_gateway_is_refused(gateway):
    [port] = free_ports(1)
    options = ClusterOptions("dask_gateway.GatewayCluster", {"address": f"http://127.0.0.1:{port}"})
    with (
        pytest.raises(RequestError, match=r"dask_gateway\.GatewayCluster: cannot be created: "),
        open_cluster(options, "exposure"),
    ):
        raise AssertionError("it was taken")
