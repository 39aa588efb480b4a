"""Arguments of sbatch: options that a site forbids are skipped or replaced by directives."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.onehost import slurm
from support.placed import double, eventually, make_importable, worker_facts

from calbatch.cluster import RequestError
from calbatch.cluster.sites.named_sites import NamedSite
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.placement import Place
from calbatch.cluster.sites.slurm.commands import REPLACEABLE, SKIPPABLE
from calbatch.cluster.sites.slurm.driver_job import (
    DriverJob,
    driver_arguments,
    job_state,
    submit_driver,
)
from calbatch.cluster.sites.slurm.job_options import check_options, sbatch_arguments
from calbatch.cluster.sites.slurm.slurm_site import open_slurm

SIZES = {"--mem", "--cpus-per-task", "--ntasks"}


def names(arguments):
    return [argument.partition("=")[0] for argument in arguments]


def of_workers(folder, **how):
    return sbatch_arguments(SlurmOptions(**how), "n", folder)


def of_driver(folder, **how):
    return driver_arguments(DriverJob(**how), folder / "log")


@pytest.mark.parametrize("made", [of_workers, of_driver])
@pytest.mark.parametrize("name", SKIPPABLE)
def test_skipped_options_are_left_out(made, name, tmp_path):
    time = {"walltime": "30:00"}
    before = made(tmp_path, **time)
    for completed in (name, f"--{name}"):
        after = made(tmp_path, skip=(completed,), **time)
        assert after == [a for a in before if a.partition("=")[0] != f"--{name}"]


@pytest.mark.parametrize("made", [of_workers, of_driver])
@pytest.mark.parametrize("directive", ["--mem=0", "--cpus-per-task=7", "--ntasks=2"])
def test_a_directive_replaces_the_option_of_calbatch(made, directive, tmp_path):
    found = made(tmp_path, directives=(directive,))
    assert directive in found
    assert max(Counter(names(found)).values()) == 1


@pytest.mark.parametrize("made", [of_workers, of_driver])
@pytest.mark.parametrize("directive", ["--mem-per-cpu=2G", "--mem-per-gpu=2G"])
def test_memory_is_requested_once(made, directive, tmp_path):
    found = made(tmp_path, directives=(directive,))
    assert directive in found
    assert "--mem" not in names(found)
    assert {"--cpus-per-task", "--ntasks"} <= set(names(found))


@pytest.mark.parametrize("skip", ["output", "job-name", "parsable", "qos", ""])
def test_options_that_jobs_need_cannot_be_skipped(skip, tmp_path):
    with pytest.raises(RequestError, match="cannot be left out"):
        check_options(SlurmOptions(skip=(skip,)), "exposure")
    with pytest.raises(RequestError, match="cannot be left out"):
        of_driver(tmp_path, skip=(skip,))


@pytest.mark.parametrize("directive", ["--mem-per-c=2G", "--cpus=2", "--nt=2", "--me=1"])
def test_option_names_are_not_abbreviated(directive, tmp_path):
    """Slurm expands an abbreviation to an option that may be present already."""
    with pytest.raises(RequestError, match="in full"):
        of_workers(tmp_path, directives=(directive,))


DIRECTIVES = ["--mem=1G", "--mem-per-cpu=1G", "--cpus-per-task=3", "--ntasks=1", "--qos=long"]


@given(
    st.sets(st.sampled_from(SKIPPABLE)),
    st.lists(st.sampled_from(DIRECTIVES), unique=True),
)
def test_no_option_is_repeated_and_skipped_ones_are_absent(skip, directives):
    for found in (
        of_workers(Path("/logs"), skip=tuple(skip), directives=tuple(directives)),
        of_driver(Path("/logs"), skip=tuple(skip), directives=tuple(directives)),
    ):
        completed = names(found)
        assert set(directives) <= set(found)
        ours = [argument for argument in found if argument not in directives]
        assert not {f"--{name}" for name in skip} & set(names(ours))
        assert max(Counter(completed).values()) == 1
        assert not ("--mem-per-cpu" in completed and "--mem" in names(ours))


@pytest.mark.parametrize(
    ("given_", "arguments", "memory"),
    [
        ({"cores": 4, "memory": "4GiB"}, {"--cpus-per-task=1", "--mem=4096M"}, "4096MiB"),
        ({"cores": 1, "memory": "4GiB"}, {"--cpus-per-task=1", "--mem=8192M"}, "8192MiB"),
        ({"cores": 4, "directives": ("--mem-per-cpu=1G",)}, {"--cpus-per-task=4"}, "4096MiB"),
        ({"cores": 1, "directives": ("--mem-per-cpu=4G",)}, {"--cpus-per-task=2"}, "8192MiB"),
        ({"cores": 4, "skip": ("mem", "cpus-per-task")}, set(), "4096MiB"),
        ({"cores": 1, "skip": ("mem",)}, {"--cpus-per-task=2"}, "8192MiB"),
    ],
)
def test_exposures_alone_have_more_memory_by_every_option(given_, arguments, memory, tmp_path):
    site = NamedSite("node", "slurm", SlurmOptions(**given_))
    alone = Place("slurm", 0, "exposure", named_site=site).for_one().named_site.options
    found = set(sbatch_arguments(alone, "n", tmp_path))
    assert {a for a in found if a.partition("=")[0] in SIZES - {"--ntasks"}} == arguments
    assert (alone.jobs, alone.cores, alone.memory) == (1, 1, memory)


def show_job(number):
    return slurm("scontrol", "-o", "show", "job", number)


@pytest.mark.services
def test_slurm_accepts_jobs_with_memory_per_core(slurm_host, tmp_path, monkeypatch):
    make_importable(monkeypatch)
    options = SlurmOptions(
        memory="1GiB", interface="lo", logs=str(tmp_path / "logs"), walltime="20:00",
        skip=REPLACEABLE, directives=("--nodes=1", "--mem-per-cpu=1G"),
    )  # fmt: skip
    with open_slurm(options, "exposure") as site:
        assert site.client.submit(double, 21).result(timeout=60) == 42
        [job] = {found["job"] for found in site.client.run(worker_facts).values()}
        assert "MinMemoryCPU=1G" in show_job(job)


@pytest.mark.services
def test_slurm_accepts_drivers_with_memory_per_core(slurm_host, tmp_path):
    how = DriverJob(skip=("ntasks", "cpus-per-task"), directives=("--mem-per-cpu=100M",))
    number = submit_driver(["true"], tmp_path / "log", how)
    assert "MinMemoryCPU=100M" in show_job(number)
    eventually(lambda: job_state(number).ended)
    assert job_state(number).state == "COMPLETED"
