"""The options of each kind of site, with their types, defaults and one-line help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def option(default: Any, text: str) -> Any:
    """Return the dataclass field of an option, with its default and one line of help."""
    arguments: dict[str, Any] = {"metadata": {"help": text}}
    if isinstance(default, dict):
        return field(default_factory=dict, **arguments)
    return field(default=default, **arguments)


@dataclass(frozen=True)
class LocalOptions:
    """Worker processes of this machine."""

    workers: int | None = option(
        None, "number of worker processes; by default as many as cores and memory allow"
    )


@dataclass(frozen=True)
class SlurmOptions:
    """Workers in Slurm jobs."""

    jobs: int = option(1, "number of jobs to keep running")
    cores: int = option(1, "cores per job; a worker runs on each")
    memory: str = option("4GiB", "memory per job, shared evenly by its workers")
    walltime: str = option("1:00:00", "time limit of a job, as in Slurm: [DAYS-]HH:MM:SS")
    partition: str | None = option(None, "partition; Slurm's default if not given")
    account: str | None = option(None, "account to charge; Slurm's default if not given")
    directives: tuple[str, ...] = option((), "further sbatch options, each as --NAME=VALUE")
    skip: tuple[str, ...] = option(
        (), "sbatch options to leave out, such as mem; for driver jobs too"
    )
    python: str | None = option(None, "Python on the nodes; by default the one running now")
    logs: str = option("calbatch-slurm", "folder shared with the nodes, for logs and certificates")
    scratch: str | None = option(None, "folder on a node for workers' temporary files")
    interface: str | None = option(None, "network interface of this host that nodes can reach")
    worker_interface: str | None = option(None, "network interface of the nodes")
    port: int = option(0, "the scheduler's port; 0 picks a free one")
    driver_walltime: str | None = option(
        None, "time limit of a driver job; the partition's if not given"
    )
    driver_directives: tuple[str, ...] = option((), "further sbatch options for a driver job")
    margin: float = option(120.0, "seconds before the time limit by which workers have stopped")
    patience: float = option(60.0, "seconds that a worker waits for a scheduler it has lost")
    encrypted: bool = option(True, "encrypt the traffic of scheduler and workers with TLS")


@dataclass(frozen=True)
class AddressOptions:
    """A dask scheduler that is already running."""

    address: str = option("", "tls://HOST:PORT or tcp://HOST:PORT")
    insecure: bool = option(False, "allow an unencrypted scheduler on another machine")


@dataclass(frozen=True)
class ClusterOptions:
    """Any dask cluster class."""

    path: str = option("", "import path of the class, such as dask_gateway.GatewayCluster")
    arguments: Mapping[str, Any] = option({}, "its keyword arguments")
    workers: int | None = option(
        None, "number of workers to request; by default the cluster decides"
    )
    patience: float = option(300.0, "seconds to wait for the first worker")
    insecure: bool = option(False, "allow unencrypted traffic to another machine")
