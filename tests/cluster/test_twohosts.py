"""A scheduler and a worker on two hosts, and the network between them."""

import json
import os
import subprocess
from contextlib import ExitStack
from subprocess import PIPE

import pytest
from distributed import Security
from support.batches import small_set
from support.placed import TESTS, eventually
from support.services import end_process
from support.twohosts import HEAD, NODE, two_hosts

pytestmark = pytest.mark.services

IMPATIENT = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "12s",
}
"""Settings that shorten the time after which hosts give each other up."""

ADDRESS = f"{HEAD}:8786"


class Hosts:
    """Two hosts with a scheduler and the workers that a test starts."""

    def __init__(self, stack: ExitStack, folder):
        self.stack, self.folder = stack, folder
        self.net = stack.enter_context(two_hosts())
        self.ours, self.files = certificates(folder, "ours")

    def environment(self, files, **more):
        tls = {"CA_FILE": files["cert"]}
        for role in ("CLIENT", "SCHEDULER", "WORKER"):
            tls |= {f"{role}__CERT": files["cert"], f"{role}__KEY": files["key"]}
        settings = {f"DASK_DISTRIBUTED__COMM__TLS__{n}": str(f) for n, f in tls.items()}
        settings["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] = "True"
        path = os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])
        return {**os.environ, "PYTHONPATH": path, **settings, **more}

    def run(self, host, *command, again=False, **more):
        log = self.folder / "processes.log"
        running = self.net.start(
            host, *command, log=log, again=again, env=self.environment(self.files, **more)
        )
        return self.stack.enter_context(running)

    def scheduler(self, **more):
        where = ("--host", HEAD, "--port", "8786", "--dashboard-address", "127.0.0.1:0")
        self.run(
            self.net.head,
            "-m",
            "distributed.cli.dask_scheduler",
            "--protocol",
            "tls",
            *where,
            **more,
        )

    def worker(self, host, address, **more):
        how = ("--nthreads", "1", "--host", address, "--death-timeout", "20", "--no-dashboard")
        program = ("-m", "distributed.cli.dask_worker", f"tls://{ADDRESS}")
        self.run(host, *program, *how, again=True, **more)

    def client(self, *exposures, **more):
        """Return a connected client on the head node."""
        command = ("-m", "support.remote_client", f"tls://{ADDRESS}", self.folder, *exposures)
        environment = self.environment(self.files, **more)
        return self.start_client(self.net.head, *command, environment=environment)

    def start_client(self, host, *command, environment):
        """Return a Python process on a host, which answers lines; see `ask`."""
        with (self.folder / "client.log").open("ab") as log:
            process = subprocess.Popen(
                self.net.command(host, *command),
                env=environment,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                text=True,
            )
        self.stack.callback(process.stdout.close)
        self.stack.callback(process.stdin.close)
        self.stack.callback(end_process, process)
        return process


def certificates(folder, name):
    """Make certificates with their own authority, and return their folder."""
    security = Security.temporary()
    files = {"cert": folder / f"{name}.pem", "key": folder / f"{name}.key"}
    files["cert"].write_text(security.tls_client_cert)
    files["key"].write_text(security.tls_client_key)
    files["key"].chmod(0o600)
    return security, files


@pytest.fixture
def hosts(tmp_path):
    with ExitStack() as stack:
        yield Hosts(stack, tmp_path)


def ask(client, line=None):
    """Send a line to a client, and return its answer."""
    if line is not None:
        client.stdin.write(line + "\n")
        client.stdin.flush()
    answer = client.stdout.readline()
    assert answer, "the client is gone"
    return json.loads(answer)


def read_notes(folder, what):
    path = folder / what
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_exposures_wait_for_a_disconnected_host(hosts):
    exposures = small_set().exposures
    hosts.scheduler()
    hosts.worker(hosts.net.node, NODE)
    client = hosts.client(*exposures)
    assert ask(client)["site"].startswith(f"the scheduler at tls://{ADDRESS} with ")
    eventually(lambda: ask(client, "workers")["workers"] == [NODE])
    page = ask(client, "page")
    assert page["said"] == []
    assert [worker["tasks"] for worker in page["workers"]] == [0]
    assert page["batches"][0]["private"]["failures"]
    hosts.net.cut()
    assert ask(client, "submit 3") == {"submitted": 3}  # and assigned to the worker
    assert read_notes(hosts.folder, "begun") == []
    hosts.net.mend()
    assert ask(client) == {"done": [0, 1, 2], "errors": [""] * len(exposures)}
    assert sorted(read_notes(hosts.folder, "begun")) == ["0", "1", "2"]  # each exactly once


@pytest.mark.ci
def test_other_workers_take_over_from_a_lost_host(hosts):
    exposures = small_set().exposures
    hosts.scheduler(**IMPATIENT)
    hosts.worker(hosts.net.node, NODE, **IMPATIENT)
    hosts.worker(hosts.net.head, HEAD, **IMPATIENT)
    client = hosts.client(*exposures, **IMPATIENT)
    ask(client)
    eventually(lambda: ask(client, "workers")["workers"] == [HEAD, NODE])
    ask(client, "submit 12")
    eventually(lambda: len(read_notes(hosts.folder, "begun")) >= 2)
    hosts.net.cut()
    assert ask(client) == {"done": list(range(12)), "errors": [""] * len(exposures)}
    eventually(lambda: ask(client, "workers")["workers"] == [HEAD])  # a busy host comes back
    hosts.net.mend()
    eventually(lambda: ask(client, "workers")["workers"] == [HEAD, NODE])


CONNECT = """
import json, sys
from distributed import Client, Security
names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
for line in sys.stdin:
    address, *files = json.loads(line)
    security = Security(**dict(zip(names, files)), require_encryption=bool(files))
    try:
        Client(address, security=security, timeout=3).close()
        print('"accepted"', flush=True)
    except OSError:
        print('"refused"', flush=True)
"""
"""Connects to an address with certificates, and prints whether that is accepted."""


def test_clients_without_certificates_are_refused(hosts):
    hosts.scheduler()
    _, theirs = certificates(hosts.folder, "theirs")
    own, other = hosts.files, theirs
    environment = {n: v for n, v in os.environ.items() if not n.startswith("DASK_")}
    client = hosts.start_client(hosts.net.node, "-c", CONNECT, environment=environment)

    def connect(address, *files):
        return ask(client, json.dumps([address, *map(str, files)]))

    def connect_with_certificates():
        return connect(f"tls://{ADDRESS}", own["cert"], own["cert"], own["key"])

    eventually(lambda: connect_with_certificates() == "accepted")
    for refused in (
        (f"tcp://{ADDRESS}",),
        (f"tls://{ADDRESS}", other["cert"], other["cert"], other["key"]),
        # it trusts only our authority
        (f"tls://{ADDRESS}", own["cert"], other["cert"], other["key"]),
    ):
        assert connect(*refused) == "refused"
    assert connect_with_certificates() == "accepted"
