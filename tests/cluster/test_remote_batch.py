"""A batch from a bucket to a bucket: as on this machine, and what is done is not done again."""

import pytest
from support.batches import DATE, calbatch, products_in, quiet
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch import cluster

# botocore's own, on some Pythons
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
    options = {"scheduler": "sync", "console": quiet(), "date": DATE, "fsync": False, **options}
    return cluster.run(pipeline, inputs, output, **options)


def test_a_batch_is_as_on_this_machine(between, files, simulated, tmp_path):
    local = run(list(simulated.exposures), tmp_path / "out")
    remote = run()
    assert local.counts == remote.counts == {"done": 3}
    names = [path.name for path in products_in(tmp_path / "out")]
    assert sorted(files.ls("bucket/out")) == [f"bucket/out/{name}" for name in names]
    for name in names:
        assert files.cat_file(f"bucket/out/{name}") == (tmp_path / "out" / name).read_bytes()


def test_nothing_is_done_twice(between, files, simulated):
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


def test_one_exposure_s_failure_is_its_own(between, files, simulated):
    name = simulated.exposures[1].name
    between.harms = [Harm("stall", path=name, ranges_from=8000)]
    result = run(pipeline="superbias")
    assert len(result.done) == 2
    assert name in result.failed[0].error
    assert "no answer within the limit" in result.failed[0].error
    between.harms = []
    assert run(pipeline="superbias").counts == {"done": 1, "kept": 2}


def test_the_command_line_takes_urls(between, files):
    said = calbatch("plan", "superbias", RAW, "-o", OUT)
    assert said.status == 0, said.err
    said = calbatch("run", "superbias", f"{RAW}*_uncal.fits", "-o", OUT, "--workers", "1")
    assert said.status == 0, said.err
    assert "s3://bucket/out" in said.err + said.out
    assert len(files.ls("bucket/out")) == 3
    assert calbatch("status", OUT).status == 0
