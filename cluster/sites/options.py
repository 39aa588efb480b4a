"""What can be said about each kind of site, with its type, its default and a line of help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def option(default: Any, text: str) -> Any:
    """Declare an option of a site."""
    how: dict[str, Any] = {"metadata": {"help": text}}
    if isinstance(default, dict):
        return field(default_factory=dict, **how)
    return field(default=default, **how)


@dataclass(frozen=True)
class LocalOptions:
    """Cores and memory of this machine."""

    workers: int | None = option(None, "worker processes; by default as cores and memory allow")


@dataclass(frozen=True)
class SlurmOptions:
    """Jobs of Slurm's, each with some workers."""

    jobs: int = option(1, "how many jobs to keep running")
    cores: int = option(1, "cores of a job: it runs a worker on each")
    memory: str = option("4GiB", "memory of a job, shared evenly by its workers")
    walltime: str = option("1:00:00", "time limit of a job, as in Slurm: [DAYS-]HH:MM:SS")
    partition: str | None = option(None, "partition; by default Slurm's")
    account: str | None = option(None, "account that is charged; by default Slurm's")
    directives: tuple[str, ...] = option((), "more options of sbatch, each as --NAME=VALUE")
    skip: tuple[str, ...] = option((), "options of sbatch to leave out, such as mem; drivers' too")
    python: str | None = option(None, "Python on the nodes; by default the one that runs this")
    logs: str = option("calbatch-slurm", "folder that nodes share, for logs and certificates")
    scratch: str | None = option(None, "folder for workers' temporary files on a node")
    interface: str | None = option(None, "network interface here that nodes reach")
    worker_interface: str | None = option(None, "network interface of the nodes")
    port: int = option(0, "the scheduler's port; 0 for any that is free")
    driver_walltime: str | None = option(
        None, "time limit of a driver's job; by default the partition's"
    )
    driver_directives: tuple[str, ...] = option((), "more options of sbatch for a driver's job")
    margin: float = option(120.0, "seconds before the time limit at which workers are gone")
    patience: float = option(60.0, "seconds that a worker waits for a scheduler it lost")
    encrypted: bool = option(True, "whether scheduler and workers talk by TLS")


@dataclass(frozen=True)
class AddressOptions:
    """A dask scheduler that runs already."""

    address: str = option("", "tls://HOST:PORT or tcp://HOST:PORT")
    insecure: bool = option(False, "allow an unencrypted one on another machine")


@dataclass(frozen=True)
class ClusterOptions:
    """Any class of dask clusters."""

    path: str = option("", "import path of the class: dask_gateway.GatewayCluster")
    arguments: Mapping[str, Any] = option({}, "its keyword arguments")
    workers: int | None = option(None, "how many workers to ask it for; by default it decides")
    patience: float = option(300.0, "seconds to wait for the first worker")
    insecure: bool = option(False, "allow unencrypted traffic to another machine")


Options = LocalOptions | SlurmOptions | AddressOptions | ClusterOptions

KINDS: dict[str, type[Options]] = {
    "local": LocalOptions,
    "slurm": SlurmOptions,
    "address": AddressOptions,
    "cluster": ClusterOptions,
}
"""Kinds of sites, and what can be said about each."""
