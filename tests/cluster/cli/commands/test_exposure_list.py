"""`calbatch status --exposures`."""

import json
import os
import re

from support.batches import calbatch
from support.recorded import record_batch

from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.cli.commands.exposure_list import HEADINGS

BAD = {"state": "failed", "reason": "/in/e1_uncal.fits: is\x1b empty", "attempts": 1}


def test_all_exposures_are_listed(tmp_path):
    done = {"state": "done", "attempts": 2, "seconds": 12.34, "peak": 250_000_000}
    folder = record_batch(tmp_path, [done, BAD, {}], "interrupted")
    said = calbatch("status", folder.name, "--exposures")
    assert said.status == 130
    heading, *lines = said.out.splitlines()
    assert heading.split() == list(HEADINGS)
    assert [re.split(r" {2,}", line.strip()) for line in lines] == [
        ["0", "done", "2", "12.3", "250 MB", "e0_uncal.fits"],
        ["1", "failed", "1", "e1_uncal.fits", r"is\x1b empty"],
        ["2", "waiting", "0", "e2_uncal.fits"],
    ]


def test_exposures_are_listed_for_programs(tmp_path):
    done = {"state": "done", "attempts": 2, "seconds": 12.34, "peak": 250_000_000}
    folder = record_batch(tmp_path, [done, BAD])
    said = calbatch("status", folder.name, "--exposures", "--json")
    first, second = map(json.loads, said.out.splitlines())
    assert (first["exposure"], first["tries"]) == ("/in/e0_uncal.fits", 2)
    assert (first["seconds"], first["memory"]) == (12.34, 250_000_000)
    assert (second["state"], second["reason"]) == ("failed", BAD["reason"])


def test_equal_names_are_told_apart_by_their_folders(tmp_path):
    paths = ["/a/x.fits", "/b/x.fits", "/b/y.fits"]
    folder = record_batch(tmp_path, [{"path": path} for path in paths])
    said = calbatch("status", folder.name, "--exposures").out
    assert [line.split()[-1] for line in said.splitlines()[1:]] == [*paths[:2], "y.fits"]


def test_exposures_are_not_watched(tmp_path):
    batch = record_batch(tmp_path, [{}], state="running")
    record_driver(batch, os.getpid())
    said = calbatch("status", batch.name, "--exposures", "--watch")
    assert (said.status, said.out) == (2, "")
    assert "--watch, --exposures" in said.err
