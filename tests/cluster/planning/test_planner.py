"""Planning exposures."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from support.batches import DATE
from support.guide_stars import guide_star

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.references import CrdsReferences
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import KnownHeader, ProductRow
from calbatch.cluster.planning import planner as planner_module
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planned_exposure import ACCEPTED, SHAPE, TYPE
from calbatch.cluster.planning.planner import Planner, RerunPolicy, find_damage, open_references
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.models.errors import FileError, ModelError
from calbatch.models.fits.layout import read_layout


class Memory:
    """Records of earlier work, in memory: a second implementation of `HistoryLookup`."""

    def __init__(self):
        self.headers, self.products, self.contents, self.deaths = {}, {}, {}, {}

    def remember(self, planned, sums, products=(), deaths=0, content=""):
        """Record the header of an exposure, and its products."""
        source = planned.source
        known = KnownHeader(source.header_digest, dict(planned.header))
        self.headers[source.path, source.size, source.mtime_ns] = known
        identity = planned.identity(sums)
        self.products[identity] = list(products)
        self.deaths[identity], self.contents[identity] = deaths, content

    def find_headers(self, places):
        return {
            place[0]: self.headers[place] for place in map(tuple, places) if place in self.headers
        }

    def find_checksum(self, path, size, mtime_ns):
        return None

    def find_products(self, identities):
        return {i: self.products[i] for i in identities if self.products.get(i)}

    def find_contents(self, identities):
        return {i: self.contents[i] for i in identities if i in self.contents}

    def find_deaths(self, identities):
        return {i: self.deaths[i] for i in identities if self.deaths.get(i)}


@pytest.fixture
def raw(simulated, tmp_path):
    path = tmp_path / "a_uncal.fits"
    shutil.copy(simulated.exposures[0], path)
    return path


@pytest.fixture
def sums():
    made = ReferenceChecksums(lambda *_: None, lambda *_: None)
    yield made
    made.close()


def planner(pipeline="dq_init", **options):
    step = configure_step(pipeline)
    return Planner(step, open_references(step), date=DATE, use_pars=False, **options)


def plan(path, **options):
    (planned,) = planner(**options).plan_block([(0, path)])
    return planned


@pytest.fixture
def product(tmp_path, simulated):
    """Return the row of a file that stands for a product."""
    path = tmp_path / "a_dq_init.fits"
    shutil.copy(simulated.exposures[1], path)
    status = path.stat()
    return ProductRow(str(path), status.st_size, status.st_mtime_ns, read_layout(path).digest)


@pytest.fixture
def memory(raw, sums, product):
    """Return records of an exposure that has been calibrated."""
    made = Memory()
    made.remember(plan(raw), sums, [product])
    return made


def test_a_plan_has_header_references_and_settings(raw, sums):
    planned = plan(raw)
    assert planned.error is None
    assert planned.source.path == str(raw)
    assert planned.source.size == raw.stat().st_size
    assert planned.header["meta.instrument.detector"] == "NRCA1"
    assert planned.header[SHAPE] == "2 x 5 x 48 x 64"
    assert planned.header[TYPE] == "Level1bModel"
    assert set(planned.files()) == {"mask"}
    assert Path(planned.files()["mask"]).is_file()
    assert planned.identity(sums) == plan(raw).identity(sums)
    assert not planned.is_known


def test_a_file_that_cannot_be_opened_fails_only_itself(raw, tmp_path):
    (tmp_path / "b_uncal.fits").write_bytes(b"not FITS")
    found = planner().plan_block([(0, tmp_path / "b_uncal.fits"), (1, raw)])
    assert isinstance(found[0].error, FileError)
    assert found[1].error is None


def test_an_unexpected_exception_fails_only_its_exposure(raw, monkeypatch):
    def resolve(step, headers, *rest, **options):
        if 1 in headers:
            raise ZeroDivisionError
        return original(step, headers, *rest, **options)

    original = planner_module.resolve_references
    monkeypatch.setattr(planner_module, "resolve_references", resolve)
    found = planner().plan_block([(n, raw) for n in range(3)])
    assert [type(p.error) for p in found] == [type(None), ZeroDivisionError, type(None)]


def test_blocks_are_small_at_first(raw, monkeypatch):
    monkeypatch.setattr(planner_module, "FIRST_BLOCK", 1)
    monkeypatch.setattr(planner_module, "BLOCK", 2)
    blocks = planner().plan_blocks([(n, raw) for n in range(4)])
    assert [[p.number for p in block] for block in blocks] == [[0], [1, 2], [3]]


def test_exposures_of_one_configuration_share_settings(raw):
    first, second = planner().plan_block([(0, raw), (1, raw)])
    assert first.settings is second.settings
    assert first.settings.key == second.settings.key


def test_intact_products_of_the_same_work_are_found(raw, memory, sums, product):
    planned = plan(raw, history=memory, checksums=sums)
    assert planned.is_known
    assert planned.earlier_products == [product]
    assert planned.rerun_reason == ""


def test_products_in_older_ledgers_are_found(raw, sums, product):
    planned = plan(raw)
    (earlier,) = list(planned.identities(sums))[1:]
    history = Memory()
    history.remember(planned, sums)
    history.products[earlier], history.contents[earlier] = [product], "c"
    history.contents.pop(planned.identity(sums))
    found = plan(raw, history=history, checksums=sums)
    assert found.earlier_products == [product]
    assert found.content == "c"
    assert found.identity(sums) == planned.identity(sums) != earlier


def test_other_parameters_are_other_work(raw, memory, sums):
    step = configure_step("dq_init", parameters={"": {"suffix": "other"}})
    other = Planner(
        step, open_references(step), date=DATE, use_pars=False, history=memory, checksums=sums
    )
    (planned,) = other.plan_block([(0, raw)])
    assert planned.is_known
    assert not planned.earlier_products


def test_a_product_that_was_changed_or_removed_is_not_intact(raw, memory, sums, product):
    Path(product.path).write_bytes(b"changed")
    assert not plan(raw, history=memory, checksums=sums).earlier_products
    Path(product.path).unlink()
    assert not plan(raw, history=memory, checksums=sums).earlier_products


def test_a_changed_input_is_read_again(raw, memory, sums):
    raw.touch()
    planned = plan(raw, history=memory, checksums=sums)
    assert not planned.is_known
    assert not planned.earlier_products


def test_products_are_ignored_on_request(raw, memory, sums):
    forced = plan(raw, history=memory, checksums=sums, rerun=RerunPolicy(force=True))
    assert forced.is_known
    assert not forced.earlier_products


def test_deaths_and_contents_of_earlier_attempts_are_found(raw, sums):
    history = Memory()
    history.remember(plan(raw), sums, deaths=3, content="c")
    planned = plan(raw, history=history, checksums=sums)
    assert (planned.deaths, planned.content) == (3, "c")


class TestVerifying:
    how = RerunPolicy(verify=True)

    def test_unchanged_files_are_kept(self, raw, memory, sums, product):
        planned = plan(raw, history=memory, checksums=sums, rerun=self.how)
        assert planned.earlier_products == [product]
        assert planned.content

    def test_a_header_that_changed_silently_is_noticed(self, raw, memory, sums):
        ((place, known),) = memory.headers.items()
        memory.headers[place] = KnownHeader("other", known.header)
        planned = plan(raw, history=memory, checksums=sums, rerun=self.how)
        assert planned.rerun_reason.startswith("its header has changed")
        assert not planned.earlier_products

    def test_contents_that_changed_silently_are_noticed(self, raw, sums, product):
        history = Memory()
        history.remember(plan(raw), sums, [product], content="of other bytes")
        planned = plan(raw, history=history, checksums=sums, rerun=self.how)
        assert planned.rerun_reason.startswith("its contents have changed")
        assert not planned.earlier_products

    def test_a_product_with_another_header_is_not_intact(self, raw, sums, product):
        history = Memory()
        history.remember(
            plan(raw), sums, [ProductRow(product.path, product.size, product.mtime_ns, "other")]
        )
        assert not plan(raw, history=history, checksums=sums, rerun=self.how).earlier_products
        assert plan(raw, history=history, checksums=sums).earlier_products


def test_references_are_opened_only_if_they_are_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "absent"))
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0001.pmap")
    monkeypatch.setenv("CRDS_SERVER_URL", "")
    assert isinstance(open_references(configure_step("group_scale")), CrdsReferences)
    with pytest.raises(RequestError):
        open_references(configure_step("dq_init"))


def test_damage_explains_why_a_file_cannot_be_opened(raw, tmp_path):
    assert find_damage(raw) is None
    (tmp_path / "b.fits").write_bytes(raw.read_bytes()[:4000])
    assert isinstance(find_damage(tmp_path / "b.fits"), ModelError)


@pytest.mark.usefixtures("simulated")
@pytest.mark.parametrize(
    ("pipeline", "kind", "reason"),
    [
        ("detector1", "FGS_TRACK", "guide-star exposures .* calbatch run guider"),
        ("dark", "FGS_TRACK", "guide-star exposures .* calbatch run guider"),
        ("detector1,dq_init", "FGS_TRACK", "guide-star exposures .* calbatch run guider"),
        ("guider", "FGS_IMAGE", "its EXP_TYPE is FGS_IMAGE"),
    ],
)
def test_no_references_are_chosen_if_the_header_excludes_an_exposure(
    tmp_path, pipeline, kind, reason
):
    path = guide_star(
        tmp_path / "a_uncal.fits", np.random.default_rng(1), "FGS_TRACK", EXP_TYPE=kind
    )
    (planned,) = planner(pipeline).plan_block([(0, path)])
    with pytest.raises(StepError, match=f"{path}: .*{reason}"):
        raise planned.error
    assert planned.files() == planned.references.missing == {}


@pytest.mark.usefixtures("simulated")
def test_a_header_in_the_ledger_must_meet_the_requirement_of_another_pipeline(tmp_path, sums):
    path = guide_star(tmp_path / "a_uncal.fits", np.random.default_rng(1), "FGS_TRACK")
    memory = Memory()
    (accepted,) = planner("guider").plan_block([(0, path)])
    memory.remember(accepted, sums)
    how = {"history": memory, "checksums": sums}
    (again,) = planner("guider", **how).plan_block([(0, path)])
    assert again.is_known
    (refused,) = planner("detector1", **how).plan_block([(0, path)])
    with pytest.raises(StepError, match="guide-star exposures"):
        raise refused.error
    (any_step,) = planner("dq_init", **how).plan_block([(0, path)])
    assert any_step.is_known


def test_products_are_found_though_the_header_is_of_an_older_ledger(raw, sums, product):
    memory, planned = Memory(), plan(raw)
    assert planned.header.pop(ACCEPTED) == ""
    memory.remember(planned, sums, [product])
    again = plan(raw, history=memory, checksums=sums)
    assert again.is_known
    assert again.header[ACCEPTED] == ""  # it has been read again
    assert again.earlier_products == [product]


def repair(ramp):
    """Mend an exposure whose header says that its groups have no frames."""
    ramp.meta.exposure.nframes = 1
    return ramp


class OwnDetector1(Detector1Pipeline):
    """A pipeline with a process of its own."""

    def process(self, exposure):
        """Return the exposure."""
        return exposure


def test_exposures_that_hooks_or_a_process_of_ones_own_may_accept_are_not_refused(raw):
    with fits.open(raw, mode="update") as hdus:
        hdus[0].header["NFRAMES"] = 0
    for step in (
        Detector1Pipeline(pre_hooks=[repair]), Detector1Pipeline(skip=True), OwnDetector1(),
    ):  # fmt: skip
        (planned,) = planner(step).plan_block([(0, raw)])
        assert planned.error is None
    (planned,) = planner("detector1").plan_block([(0, raw)])
    with pytest.raises(StepError, match="NFRAMES must be at least 1, is 0"):
        raise planned.error
