"""The services that commands of pages need: a bucket, a Slurm, and a scheduler of one's own.

Each is a context manager. It gets the folder of the page, and yields the variables with which
commands find the service, and the addresses that take the place of those in the page.
"""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import yaml

from support.onehost import one_host
from support.ownscheduler import Running
from support.s3 import SECRET, moto_server, plain_s3
from support.tls import certificate

BUCKETS = {"bucket": "raw", "raw": "night1", "calibrated": ""}
"""The folder with exposures of each bucket."""


@contextmanager
def serve_buckets(folder: Path):
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
def run_slurm(folder: Path):
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
def run_scheduler(folder: Path):
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


SERVICES = {
    "README.md": (serve_buckets, run_slurm),
    "docs/how-to/existing-scheduler.md": (run_scheduler,),
    "docs/how-to/remote-data.md": (serve_buckets,),
    "docs/how-to/sites.md": (run_slurm,),
}
"""The services that pages need."""
