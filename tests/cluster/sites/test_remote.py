"""Batches on schedulers that run already, named by address."""

import signal
import sys
import threading

import cloudpickle
import dask
import pytest
from distributed import Client, LocalCluster, Security
from support.batches import DATE, calibrate_on, checksums, quiet_console
from support.onehost import free_ports
from support.services import end_process, start_process
from support.waiting import eventually

from calbatch import __version__
from calbatch.calibrate.step import Step
from calbatch.cluster import RequestError, run
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.sites import placement
from calbatch.cluster.sites.remote import check_workers, open_scheduler, refuse_insecure
from calbatch.models.datamodels import RampModel

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

HERE = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


class Plain(Step):
    """A step that does nothing."""

    def process(self, exposure):
        return RampModel(exposure)


@pytest.fixture(scope="module")
def cluster():
    """Return a running scheduler, with a worker of two threads."""
    with LocalCluster(protocol="tcp", host="127.0.0.1", threads_per_worker=2, **HERE) as running:
        yield running


@pytest.mark.parametrize("grain", ["auto", "tile"])
def test_a_scheduler_by_address(simulated, tmp_path, cluster, grain):
    how = {"date": DATE, "fsync": False, "console": quiet_console()}
    run("detector1", simulated.exposures, tmp_path / "a", scheduler="sync", **how)
    address = cluster.scheduler_address
    result = run(
        "detector1", simulated.exposures, tmp_path / "b", scheduler=address, grain=grain, **how
    )
    assert result.exit_status == 0
    assert checksums(tmp_path / "a") == checksums(tmp_path / "b")
    assert f"the scheduler at {address} with 1 worker" in how["console"].file.getvalue()
    assert list(cluster.scheduler.workers)  # it is not ours to stop


def test_a_scheduler_with_certificates(simulated, tmp_path):
    pytest.importorskip("cryptography")
    security = Security.temporary()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    key.write_text(security.tls_client_key)
    certificate.write_text(security.tls_client_cert)
    files = {"ca-file": str(certificate), "client.key": str(key), "client.cert": str(certificate)}
    with LocalCluster(
        protocol="tls://", security=security, threads_per_worker=1, **HERE
    ) as running:
        address = running.scheduler_address
        assert address.startswith("tls://")
        with dask.config.set({f"distributed.comm.tls.{n}": f for n, f in files.items()}):
            result = run(
                Plain,
                simulated.exposures,
                tmp_path / "out",
                scheduler=address,
                console=quiet_console(),
            )
        assert result.exit_status == 0
        with pytest.raises(RequestError, match="ca-file is not set"):
            run(Plain, simulated.exposures, tmp_path, scheduler=address, console=quiet_console())


def reason_to_refuse(address, *, insecure=False):
    try:
        refuse_insecure(address, insecure=insecure)
    except RequestError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "tcp://head.example:8786"])
def test_traffic_that_others_could_read_is_refused(address):
    assert "not encrypted, and not on this machine" in reason_to_refuse(address)
    assert reason_to_refuse(address, insecure=True) == ""


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://127.8.9.1:1", "tcp://[::1]:1", "tcp://localhost:1"]
)
def test_traffic_within_the_machine_is_accepted(address):
    assert reason_to_refuse(address) == ""


def test_certificates_that_are_not_there_are_named(tmp_path):
    address = "tls://head.example:8786"
    there = tmp_path / "ca.pem"
    there.touch()
    for settings, message in (
        ({}, "ca-file is not set; DASK_DISTRIBUTED__COMM__TLS__CA_FILE can set it"),
        ({"ca-file": "gone.pem"}, "ca-file is gone.pem, which is not a file"),
        ({"ca-file": str(there)}, "client.cert is not set; DASK_DISTRIBUTED__COMM__TLS__CLIENT__"),
    ):
        files = {f"distributed.comm.tls.{name}": file for name, file in settings.items()}
        with dask.config.set(files), pytest.raises(RequestError, match=message):
            assert refuse_insecure(address, insecure=False) is None


@pytest.mark.parametrize("address", ["ucx://127.0.0.1:1", "tcp://", "http://127.0.0.1:8787"])
def test_other_addresses_are_refused(address):
    with pytest.raises(RequestError, match=r"must be tcp://HOST:PORT or tls://HOST:PORT"):
        refuse_insecure(address, insecure=True)


def test_an_address_without_a_scheduler_is_refused(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr("calbatch.cluster.sites.remote.CONNECT", 0.5)
    with pytest.raises(RequestError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        run(
            Plain,
            simulated.exposures,
            tmp_path,
            scheduler="tcp://127.0.0.1:9",
            console=quiet_console(),
        )


@pytest.fixture
def stopped_scheduler(tmp_path):
    """Return the address of a scheduler whose process is stopped."""
    [port] = free_ports(1)
    program = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port)
    with (tmp_path / "scheduler.log").open("wb") as log:
        process = start_process(sys.executable, *program, "--no-dashboard", log=log, cwd=tmp_path)
    address = f"tcp://127.0.0.1:{port}"
    Client(address, timeout=60, set_as_default=False).close()
    process.send_signal(signal.SIGSTOP)
    yield address
    process.send_signal(signal.SIGCONT)
    end_process(process)


def test_a_stopped_scheduler_is_refused_in_time(
    simulated, tmp_path, monkeypatch, stopped_scheduler
):
    monkeypatch.setattr("calbatch.cluster.sites.remote.CONNECT", 0.5)
    with pytest.raises(RequestError, match=r"no scheduler answers at tcp://127\.0\.0\.1"):
        run(
            Plain,
            simulated.exposures,
            tmp_path,
            scheduler=stopped_scheduler,
            console=quiet_console(),
        )


def test_workers_that_do_not_answer_are_refused_in_time(tmp_path, monkeypatch, cluster):
    monkeypatch.setattr("calbatch.cluster.sites.remote.ASK_WORKERS", 0.5)
    gate = tmp_path / "gate"
    monkeypatch.setattr("calbatch.cluster.sites.remote._host_and_version", lambda: _wait_for(gate))
    with (
        pytest.raises(RequestError, match=r"not all of its workers answer within 0\.5 s"),
        open_scheduler(cluster.scheduler_address, "exposure"),
    ):
        pass
    gate.touch()


def _wait_for(gate):
    return eventually(gate.exists)


def test_a_scheduler_that_goes_away_leaves_the_rest_for_later(simulated, tmp_path):
    paths = [tmp_path / f"{i:02}_uncal.fits" for i in range(12)]
    for path in paths:
        path.symlink_to(simulated.exposures[0])
    running = LocalCluster(protocol="tcp", host="127.0.0.1", threads_per_worker=1, **HERE)
    place = placement.Place(running.scheduler_address, 0, "exposure")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        placement.open_place(place) as site,
    ):
        going = _Going(site, running.close)
        result = calibrate_on(going, Plain, paths, tmp_path / "out", RetryPolicy(patience=1.0))
    assert result.exit_status == 130
    assert result.batch.state == "interrupted"
    assert "the site was lost" in result.batch.reason
    assert result.done
    assert result.counts["waiting"] == len(paths) - len(result.done)
    again = run(
        Plain,
        paths,
        tmp_path / "out",
        scheduler="sync",
        console=quiet_console(),
        date=DATE,
        fsync=False,
    )
    assert again.exit_status == 0
    assert again.counts["kept"] == len(result.done)


class _Going:
    """A site whose scheduler goes away with the first outcome."""

    def __init__(self, site, close):
        self._site, self._close = site, close

    def __getattr__(self, name):
        return getattr(self._site, name)

    def collect(self, timeout):
        found = self._site.collect(timeout)
        if found and self._close:
            close, self._close = self._close, None
            thread = threading.Thread(target=close)
            thread.start()
            thread.join()
        return found


class AnsweringClient:
    """A client whose workers return answers, or raise an error."""

    def __init__(self, *answers, error=None):
        self.answers, self.error = answers, error

    def run(self, function):
        if self.error is not None:
            raise self.error
        return {f"tcp://w{n}": answer for n, answer in enumerate(self.answers)}


def check(client, grain="exposure"):
    return check_workers(client, "the site", grain)


def test_workers_are_counted_by_host():
    client = AnsweringClient(("a", __version__), ("b", __version__), ("a", __version__))
    assert check(client) == {"a": 2, "b": 1}


def test_a_worker_with_another_version_is_refused():
    client = AnsweringClient(("a", __version__), ("a", "0.0.1"))
    with pytest.raises(RequestError) as caught:
        check(client)
    assert str(caught.value) == (
        f"the site: worker tcp://w1 has calbatch 0.0.1, this process {__version__}"
    )


def test_tiles_of_one_exposure_are_not_written_by_several_hosts():
    two_hosts = AnsweringClient(("a", __version__), ("b", __version__))
    with pytest.raises(RequestError, match=r"on 2 hosts, .* use --grain exposure"):
        check(two_hosts, "tile")
    assert check(AnsweringClient(("a", __version__), ("a", __version__)), "tile") == {"a": 2}


def test_workers_without_calbatch_are_refused_with_the_cause():
    error = RuntimeError("could not unpickle")
    error.__cause__ = ModuleNotFoundError("there is\nno calbatch")
    with pytest.raises(RequestError, match=r"cannot run calbatch: there is no calbatch$"):
        check(AnsweringClient(error=error))
