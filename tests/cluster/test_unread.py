"""Commands whose output has no reader."""

import os
import subprocess
import sys

import pytest
from support.batches import DATE, calbatch, products_in

from calbatch.cluster.exposure.terminal import Console

HOW = ("--scheduler", "sync", "--date", DATE, "--no-fsync")


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_batch_continues_although_its_output_is_closed(closed, simulated, tmp_path):
    command = [sys.executable, "-m", "calbatch.cluster", "run", "superbias"]
    command += [*map(str, simulated.exposures), "-o", str(tmp_path), *HOW]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, closed: subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        getattr(process, closed).close()
        assert process.wait() == 0
    assert len(products_in(tmp_path)) == len(simulated.exposures)
    assert calbatch("status", tmp_path).status == 0


def test_following_a_batch_succeeds_although_the_output_is_closed(simulated, tmp_path):
    how = ("-o", tmp_path, *HOW)
    assert calbatch("run", "superbias", simulated.exposures[0], *how).status == 0
    with subprocess.Popen(
        [sys.executable, "-m", "calbatch.cluster", "logs", str(tmp_path), "--number", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as file:
        console = Console(file=file)
        console.print("text")
        assert console.quiet
