"""Batch options: declared once, for Python, the command line and the documentation."""

import inspect

import click
import pytest
from distributed import Client, LocalCluster

from calbatch.cluster import RequestError, run
from calbatch.cluster.batch.options import (
    DRIVING,
    POLICY_OPTIONS,
    BatchOptions,
    default_of,
    option_fields,
    read_address,
)
from calbatch.cluster.cli.app import cli
from calbatch.cluster.exposure.policy import RetryPolicy


@pytest.mark.parametrize("command", [*DRIVING, "plan"])
def test_the_command_line_has_each_option_with_its_default_and_help(command):
    found = {p.name: p for p in cli.commands[command].params if isinstance(p, click.Option)}
    for each in option_fields():
        has_it = command in each.metadata.get("only", (command,))
        assert (each.name in found) == has_it, each.name
        if has_it:
            assert found[each.name].default == default_of(each)
            assert found[each.name].help == each.metadata["help"]
    for name in POLICY_OPTIONS:
        assert (name in found) == (command in DRIVING)
        if name in found:
            assert found[name].default == getattr(RetryPolicy(), name)


def test_python_shows_each_option_with_its_default_and_help():
    parameters = inspect.signature(run).parameters
    words = (run.__doc__.split(), BatchOptions.__doc__.split())
    for each in option_fields():
        assert parameters[each.name].default == default_of(each)
        for text in words:
            assert " ".join(each.metadata["help"].split()) in " ".join(text)


def test_a_date_that_is_none_is_rejected():
    with pytest.raises(RequestError, match="date 'today': must be like 2024-01-31T12:00:00"):
        BatchOptions(date="today")


def test_a_client_or_a_cluster_stands_for_its_scheduler():
    how = {"n_workers": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": False}
    with LocalCluster(**how) as cluster, Client(cluster) as client:
        address = cluster.scheduler_address
        assert address.startswith("tcp://127.0.0.1:")
        assert BatchOptions(scheduler=client).scheduler == address
        assert BatchOptions(scheduler=cluster).scheduler == address
    assert read_address("local") == "local"


def test_other_objects_are_no_schedulers():
    with pytest.raises(RequestError, match=r"scheduler 8786: must be a name, an address"):
        BatchOptions(scheduler=8786)
