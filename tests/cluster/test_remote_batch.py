"""Batches from bucket to bucket give the same products, and repeat nothing that is done."""

import dataclasses

import pytest
from support.batches import DATE, SMALL, calbatch, products_in, quiet_console
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch import cluster
from calbatch.calibrate.simulate import simulate
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.ledger import View

# from botocore, on some versions of Python
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RAW, OUT = "s3://bucket/raw/", "s3://bucket/out/"


@pytest.fixture
def between(simulated, monkeypatch, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("CALBATCH_SCRATCH_DIR", str(scratch))
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", "2")
    with moto_server() as server:
        made = GoBetween(server)
        files = plain_s3(server)
        files.mkdir("bucket")
        for path in simulated.exposures:
            files.put_file(str(path), f"bucket/raw/{path.name}")
        with made.serving() as endpoint:
            use_endpoint(monkeypatch, endpoint)
            yield made
        assert list(scratch.iterdir()) == []


@pytest.fixture
def files(between):
    return plain_s3(between.upstream)


def run(inputs=RAW, output=OUT, pipeline="detector1", **options):
    options = {
        "scheduler": "sync",
        "console": quiet_console(),
        "date": DATE,
        "fsync": False,
        **options,
    }
    return cluster.run(pipeline, inputs, output, **options)


def test_remote_products_equal_local_ones(between, files, simulated, tmp_path):
    local = run(list(simulated.exposures), tmp_path / "out")
    remote = run()
    assert local.counts == remote.counts == {"done": 3}
    names = [path.name for path in products_in(tmp_path / "out")]
    assert sorted(files.ls("bucket/out")) == [f"bucket/out/{name}" for name in names]
    for name in names:
        assert files.cat_file(f"bucket/out/{name}") == (tmp_path / "out" / name).read_bytes()


def test_repeated_batches_calibrate_nothing_twice(between, files, simulated):
    assert run(pipeline="superbias").counts == {"done": 3}
    assert run(pipeline="superbias").counts == {"kept": 3}
    products = files.ls("bucket/out", detail=False)
    files.rm_file(products[0])
    files.pipe_file(products[1], b"0" * files.info(products[1])["size"])
    assert run(pipeline="superbias").counts == {"done": 2, "kept": 1}
    path = files.ls("bucket/raw", detail=False)[2]
    content = files.cat_file(path)
    files.pipe_file(path, content.replace(b"CHECKSUM", b"CHECKSUN", 1))
    assert run(pipeline="superbias").counts == {"done": 1, "kept": 2}


WORKERS = {"scheduler": "local", "workers": 2, "grain": "exposure"}
REFUSALS = 6
"""Enough for all three tries at both requests by which a header is read."""
HASTY = RetryPolicy(retries=1, first_delay=0.1)
SILENCE = 0.6


PIXELS = {"ranges_from": 8000, "ranges_to": 60000}
"""Where ranges begin by which workers read; those of headers begin elsewhere."""


@pytest.fixture
def impatient(between, monkeypatch):
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", str(SILENCE))


def attempts(result, number):
    with View(result.folder.state) as view:
        row = list(view.exposures(result.batch.id))[number]
        return view.attempts(row.id)


def contents(files, folder="bucket/out"):
    return {name: files.cat_file(name) for name in files.find(folder)}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("where", [{"scheduler": "sync"}, WORKERS], ids=["sync", "local"])
@pytest.mark.parametrize("retries", [4, 0])
def test_a_header_that_is_temporarily_unreadable_is_read_again(between, simulated, where, retries):
    name = simulated.exposures[1].name
    between.harms.append(Harm("refuse", path=f"/raw/{name}", times=REFUSALS))
    result = run(
        pipeline="superbias", policy=RetryPolicy(retries=retries, first_delay=0.1), **where
    )
    assert between.harms[0].times == 0
    assert result.counts == ({"done": 3} if retries else {"done": 2, "failed": 1})
    assert all(name in outcome.error for outcome in result.failed)


def test_a_range_request_that_stalls_is_repeated(between, files, simulated):
    name = simulated.exposures[1].name
    between.harms = [Harm("stall", path=name, times=1, **PIXELS)]
    disturbed = run(**WORKERS, policy=HASTY)
    assert disturbed.counts == {"done": 3}
    (cut,) = (r for r in between.reads if r.range[1] - r.range[0] > r.sent)
    again = [r for r in between.reads if (r.path, r.range) == (cut.path, cut.range)]
    assert name in cut.path
    assert len(again) > 1
    before = contents(files)
    run(force=True)
    assert contents(files) == before


@pytest.mark.usefixtures("impatient")
def test_a_stalled_server_fails_one_exposure_until_it_recovers(between, files, simulated):
    name = simulated.exposures[1].name
    between.harms = [Harm("stall", path=name, **PIXELS)]
    result = run(**WORKERS, pipeline="superbias", policy=HASTY)
    assert [o.path.name for o in result.failed] == [name]
    assert name in result.failed[0].error
    assert "no answer within the limit (0.6 s of silence)" in result.failed[0].error
    tries = attempts(result, 1)
    assert [(a.number, a.result) for a in tries] == [(1, "storage"), (2, "failed")]
    assert len(files.find("bucket/out")) == 2
    between.harms = []
    assert calbatch("resume", result.name).status == 0
    assert len(files.find("bucket/out")) == 3
    assert run(pipeline="superbias").counts == {"kept": 3}


@pytest.mark.usefixtures("impatient")
def test_a_stalled_upload_leaves_nothing_until_the_server_recovers(between, files, simulated):
    stem = simulated.exposures[1].name.removesuffix("_uncal.fits")
    between.harms = [Harm("stall", "PUT", path=f"/out/{stem}", before_upstream=True)]
    result = run(**WORKERS, pipeline="superbias", policy=HASTY)
    assert [o.path.name for o in result.failed] == [f"{stem}_uncal.fits"]
    assert "uploading" in result.failed[0].error
    assert "no answer within the limit" in result.failed[0].error
    assert not [name for name in files.find("bucket") if f"/out/{stem}" in name]
    assert len(files.find("bucket/out")) == 2
    between.harms = []
    assert calbatch("resume", result.name).status == 0
    assert len(files.find("bucket/out")) == 3


@pytest.mark.ci
@pytest.mark.usefixtures("impatient")
def test_a_large_upload_that_stalls_midway_leaves_nothing(between, files, monkeypatch, tmp_path):
    large = dataclasses.replace(SMALL, shape=(512, 512), nints=4)
    made = simulate(tmp_path / "large", spec=large, exposures=1)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", "2")
    between.harms = [Harm("stall", "PUT", path="partNumber=2", before_upstream=True)]
    result = run(list(made.exposures), pipeline="superbias", policy=RetryPolicy(retries=0))
    assert "no answer within the limit" in result.failed[0].error
    assert any("partNumber=1" in request.path for request in between.requests)
    assert files.find("bucket/out") == []
    between.harms = []
    assert calbatch("resume", result.name).status == 0
    (path,) = files.find("bucket/out")
    local = run(list(made.exposures), tmp_path / "out", pipeline="superbias")
    assert files.cat_file(path) == local.products[0].read_bytes()


def test_the_version_of_an_input_object_is_recorded(between, files, simulated):
    result = run(pipeline="superbias", **WORKERS)
    tags = [files.info(name)["ETag"].strip('"') for name in sorted(files.find("bucket/raw"))]
    assert [outcome.content for outcome in result.outcomes] == [f"etag:{tag}" for tag in tags]
    fetched = sum(r.sent for r in between.reads if simulated.exposures[0].name in r.path)
    between.requests.clear()
    assert run(pipeline="superbias", verify=True).counts == {"kept": 3}
    read = sum(r.sent for r in between.reads if "/raw/" in r.path)
    assert read < fetched  # only headers, of all three


def test_the_command_line_accepts_urls(between, files):
    completed = calbatch("plan", "superbias", RAW, "-o", OUT)
    assert completed.status == 0, completed.err
    completed = calbatch("run", "superbias", f"{RAW}*_uncal.fits", "-o", OUT, "--workers", "1")
    assert completed.status == 0, completed.err
    assert "s3://bucket/out" in completed.err + completed.out
    assert len(files.ls("bucket/out")) == 3
    assert calbatch("status", OUT).status == 0
