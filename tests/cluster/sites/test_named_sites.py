"""Sites by name, from dask's configuration."""

import io
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.placed import double, make_importable

from calbatch.cluster import RequestError
from calbatch.cluster.sites.kinds import KINDS
from calbatch.cluster.sites.named_sites import (
    find_site,
    open_site,
    option_text,
    override_options,
    site_table,
    sites_by_name,
)
from calbatch.cluster.sites.options import SlurmOptions

FILE = """
calbatch:
  sites:
    desk: {kind: local, workers: 3}
    big:
      kind: slurm
      jobs: 20
      memory: 8GiB
      walltime: "4:00:00"
      worker-interface: ib0
      margin: 90
      directives: [--exclusive, "--constraint=a b"]
    head: {kind: address, address: "tls://head.example:8786"}
    gate:
      kind: cluster
      path: dask_gateway.GatewayCluster
      arguments: {address: "https://gate.example", auth_token: hidden}
"""


def configure_sites(**sites):
    return dask.config.set({"calbatch.sites": sites})


def print_sites(sites):
    console = Console(file=io.StringIO(), width=200)
    console.print(site_table(sites))
    return console.file.getvalue()


def test_dask_reads_them_from_its_files(tmp_path):
    (tmp_path / "sites.yaml").write_text(FILE)
    program = (
        "from calbatch.cluster.sites.named_sites import sites_by_name\n"
        "for site in sites_by_name().values(): print(site)"
    )
    environment = {**os.environ, "DASK_CONFIG": str(tmp_path)}
    environment["DASK_CALBATCH__SITES__DESK__WORKERS"] = "5"
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split("'")[1] for line in told] == ["local", "desk", "big", "head", "gate"]
    assert "LocalOptions(workers=5)" in told[1]
    assert "directives=('--exclusive', '--constraint=a b')" in told[2]
    assert "worker_interface='ib0'" in told[2]
    assert "margin=90.0" in told[2]
    assert "arguments={'address': 'https://gate.example', 'auth_token': 'hidden'}" in told[4]


def test_local_is_always_there():
    with configure_sites():
        assert list(sites_by_name()) == ["local"]
    with configure_sites(local={"kind": "local", "workers": 1}):
        assert find_site("local").options.workers == 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "site it: needs a kind; kinds are local, slurm, address, cluster"),
        ({"kind": "slum"}, r"site it: kind 'slum': unknown \(did you mean 'slurm'\?\)"),
        ("slurm", "site it: must have a kind and options, not 'slurm'"),
        ({"kind": "slurm", "job": 3}, r"slurm has no option 'job' \(did you mean 'jobs'\?\); it"),
        ({"kind": "local", "zzz": 3}, "local has no option 'zzz'; it has workers$"),
        ({"kind": "slurm", "jobs": "3"}, "site it: jobs: must be a whole number, not '3'"),
        ({"kind": "slurm", "jobs": True}, "jobs: must be a whole number, not True"),
        ({"kind": "slurm", "margin": "long"}, "margin: must be a number, not 'long'"),
        ({"kind": "slurm", "encrypted": 1}, "encrypted: must be true or false, not 1"),
        ({"kind": "slurm", "walltime": 7200}, "walltime: must be text, in quotes where YAML"),
        ({"kind": "slurm", "directives": "--a"}, "directives: must be a list of texts"),
        ({"kind": "cluster", "path": "a.B", "arguments": []}, "arguments: must be a mapping"),
        ({"kind": "cluster"}, "site it: a site of kind cluster needs 'path'"),
        ({"kind": "address"}, "site it: a site of kind address needs 'address'"),
    ],
)
def test_impossible_options_are_refused(said, message):
    with configure_sites(it=said), pytest.raises(RequestError, match=message):
        sites_by_name()


@pytest.mark.parametrize("name", ["", "a b", "../x", "1", "a\n"])
def test_names_are_plain(name):
    with (
        configure_sites(**{name: {"kind": "local"}}),
        pytest.raises(RequestError, match="a name must start with a letter"),
    ):
        sites_by_name()


def test_a_name_that_is_not_there():
    with (
        configure_sites(bigger={"kind": "local"}),
        pytest.raises(RequestError, match=r"site 'bigge': unknown \(did you mean 'bigger'\?\)"),
    ):
        find_site("bigge")


def test_options_are_overridden_as_text():
    with configure_sites(it={"kind": "slurm", "jobs": 3, "partition": "long"}):
        site = find_site("it")
    pairs = {
        "jobs": "7",
        "margin": "1.5",
        "encrypted": "no",
        "partition": "none",
        "account": "me",
        "worker-interface": "ib0",
        "directives": "--exclusive '--constraint=a b'",
    }
    changed = override_options(site, pairs)
    assert changed.options == SlurmOptions(
        jobs=7,
        margin=1.5,
        encrypted=False,
        account="me",
        worker_interface="ib0",
        directives=("--exclusive", "--constraint=a b"),
    )
    assert changed.given == {name.replace("-", "_") for name in pairs}
    assert site.options.jobs == 3


def test_mappings_are_overridden_as_text():
    with configure_sites(it={"kind": "cluster", "path": "a.B"}):
        changed = override_options(find_site("it"), {"arguments": "{n_workers: 2, name: x}"})
    assert changed.options.arguments == {"n_workers": 2, "name": "x"}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"jobs": "many"}, "site it: jobs: must be a whole number, not 'many'"),
        ({"jobs": "none"}, "jobs: must be a whole number, not 'none'"),
        ({"encrypted": "perhaps"}, "encrypted: must be true or false, not 'perhaps'"),
        ({"directives": "'--a"}, "directives: must be texts with spaces"),
        ({"partitoin": "x"}, r"slurm has no option 'partitoin' \(did you mean 'partition'\?\)"),
        ({"kind": "local"}, "site it: its kind is slurm, and cannot be changed"),
    ],
)
def test_impossible_overrides_are_refused(pairs, message):
    with configure_sites(it={"kind": "slurm"}), pytest.raises(RequestError, match=message):
        override_options(find_site("it"), pairs)


@pytest.mark.parametrize("text", ["[1]", "{a: ", "a"])
def test_overriding_with_no_mapping(text):
    with (
        configure_sites(it={"kind": "cluster", "path": "a.B"}),
        pytest.raises(RequestError, match="arguments: must be a mapping, as in YAML"),
    ):
        override_options(find_site("it"), {"arguments": text})


@given(st.integers(), st.floats(allow_nan=False), st.booleans(), st.lists(st.text("-=ab '\"\\")))
def test_shown_options_can_be_given_again(jobs, margin, encrypted, directives):
    said = {"kind": "slurm", "jobs": jobs, "margin": margin, "encrypted": encrypted}
    with configure_sites(it={**said, "directives": directives}):
        site = find_site("it")
    pairs = {n: option_text(n, getattr(site.options, n)) for n in ("jobs", "margin", "encrypted")}
    pairs["directives"] = option_text("directives", site.options.directives)
    with configure_sites(it={"kind": "slurm"}):
        assert override_options(find_site("it"), pairs).options == site.options


def test_the_table_tells_all_options_but_no_secrets():
    with configure_sites(
        big={"kind": "slurm", "jobs": 20, "partition": "[red]x"},
        gate={"kind": "cluster", "path": "a.B", "arguments": {"user": "me", "password": "hid den"}},
    ):
        text = print_sites(sites_by_name().values())
    for kind in ("local", "slurm", "cluster"):
        for option in fields(KINDS[kind].options):
            assert option.name in text
            assert option.metadata["help"] in text
    assert "[red]x" in text
    assert "user=me, password=***" in text
    assert "hid den" not in text


def test_the_page_tells_all_options():
    page = Path(__file__).parents[3] / "docs" / "how-to" / "sites.md"
    told_of = set(re.findall(r"`(\w+)`", page.read_text()))
    options = {option.name for kind in KINDS.values() for option in fields(kind.options)}
    assert options - told_of == set()


@pytest.mark.parametrize("kind", ["local", "cluster"])
def test_a_site_is_opened(kind, monkeypatch):
    make_importable(monkeypatch)
    own = {"n_workers": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    said = {
        "local": {"kind": "local", "workers": 1},
        "cluster": {"kind": "cluster", "path": "distributed.LocalCluster", "arguments": own},
    }
    with configure_sites(it=said[kind]):
        site = find_site("it")
    with open_site(site, "exposure") as running:
        assert running.client.submit(double, 4).result() == 8
        address = running.client.scheduler.address
        with configure_sites(there={"kind": "address", "address": address}):
            other = find_site("there")
        with open_site(other, "exposure") as second:
            assert second.client.submit(double, 5).result() == 10
