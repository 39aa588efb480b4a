"""The services that commands of pages need: a bucket, a Slurm, a scheduler, a running batch.

Each is a context manager. It gets the folder of the page and the variables of its commands, and
yields further variables, and the addresses that take the place of those in the page.
"""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import yaml

from support.gated import GATE, SLOW
from support.onehost import one_host
from support.ownscheduler import Running
from support.placed import TESTS
from support.s3 import SECRET, moto_server, plain_s3
from support.tls import certificate
from support.waiting import eventually

BUCKETS = {"bucket": "raw", "raw": "night1", "calibrated": ""}
"""The folder with exposures of each bucket."""


@contextmanager
def serve_buckets(folder: Path, _: dict[str, str]):
    """Serve S3 on loopback, with exposures."""
    with moto_server() as endpoint:
        store = plain_s3(endpoint)
        for bucket, place in BUCKETS.items():
            store.mkdir(bucket)
            for path in (folder / "exposures").iterdir() if place else ():
                store.put_file(str(path), f"{bucket}/{place}/{path.name}")
        yield (
            {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
            {},
        )


@contextmanager
def run_slurm(folder: Path, _: dict[str, str]):
    """Run a Slurm of one node, with the sites that pages name."""
    with one_host():
        site = {"kind": "slurm", "memory": "1GiB", "interface": "lo", "patience": 120.0}
        site["logs"] = str(folder / "jobs")
        config = folder.parent / "dask"
        config.mkdir()
        sites = {"calbatch": {"sites": dict.fromkeys(("cluster", "big"), site)}}
        (config / "sites.yaml").write_text(yaml.safe_dump(sites))
        yield {"SLURM_CONF": os.environ["SLURM_CONF"], "DASK_CONFIG": str(config)}, {}


class EncryptedScheduler(Running):
    """A scheduler with workers that speak TLS."""

    @property
    def address(self):
        """Return its address."""
        return f"tls://127.0.0.1:{self.port}"


@contextmanager
def run_scheduler(folder: Path, _: dict[str, str]):
    """Run an encrypted scheduler with workers; the page's folder has the certificates."""
    authority, chain = certificate(folder.parent)
    settings = {"DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls"}
    for name, source in {"ca": authority, "certificate": chain, "key": chain}.items():
        shutil.copy(source, folder / f"{name}.pem")
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    settings[f"{tls}CA_FILE"] = str(authority)
    for side in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{tls}{side}__CERT": str(chain), f"{tls}{side}__KEY": str(chain)}
    with patch.dict(os.environ, settings):
        running = EncryptedScheduler(folder.parent)
    try:
        yield {}, {"tls://head.example:8786": running.address}
    finally:
        running.kill()


@contextmanager
def run_batch(folder: Path, variables: dict[str, str]):
    """Run a batch that lasts until the page has run."""
    gate = folder.parent / "gate"
    path = os.pathsep.join([TESTS, variables["PYTHONPATH"]])
    settings = {**variables, GATE: str(gate), "PYTHONPATH": path}
    program = shutil.which("calbatch", path=variables["PATH"])

    def calbatch(*words: str) -> str:
        how = {"cwd": folder, "env": settings, "check": True, "stdout": subprocess.PIPE}
        return subprocess.run([program, *words], text=True, **how).stdout

    def read_status() -> dict:
        return json.loads(calbatch("status", "held/", "--json"))

    where = ("-o", "held/", "--scheduler", "local", "--workers", "1")
    calbatch("submit", SLOW, "exposures/", *where)
    try:
        eventually(lambda: read_status()["dashboard"], 120, every=0.2)
        base, _, token = read_status()["dashboard"].partition("/calbatch#")
        yield {}, {"http://127.0.0.1:40213": base, "kq3vJ2mB0cX5WbT9sHn1Zg": token}
    finally:
        gate.touch()
        eventually(lambda: read_status()["state"] not in ("planned", "running"), 120, every=0.2)


SERVICES = {
    "README.md": (serve_buckets, run_slurm),
    "docs/how-to/existing-scheduler.md": (run_scheduler,),
    "docs/how-to/remote-data.md": (serve_buckets,),
    "docs/how-to/sites.md": (run_slurm,),
    "docs/how-to/watching.md": (run_batch,),
}
"""The services that pages need."""
