"""The place where a batch runs: as it is requested, chosen and opened."""

from contextlib import contextmanager
from dataclasses import replace

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeSite

from calbatch.cluster.errors import RequestError, SiteLostError
from calbatch.cluster.sites import local, placement
from calbatch.cluster.sites.in_process import InProcess
from calbatch.cluster.sites.named_sites import NamedSite
from calbatch.cluster.sites.options import AddressOptions, LocalOptions, SlurmOptions
from calbatch.cluster.sites.placement import (
    FEW,
    FEW_BYTES,
    REUSES,
    SMALL_BATCH,
    Place,
    SharedSite,
    SiteRequest,
    check_request,
    choose_place,
    configure_memory,
    open_place,
    prepare_likely_place,
    prepare_place,
)
from calbatch.models.tiling import reference_cache
from calbatch.models.tiling.tile_edges import DEFAULT_BYTES, SMALL_TILE_BYTES

CORES, AFFORDABLE = 8, 6
LARGE = SMALL_BATCH + 1


@pytest.fixture(autouse=True, scope="module")
def _machine():
    """Simulate a machine with 8 cores, and memory for 6 workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask.system, "CPU_COUNT", CORES)
        patch.setattr(local, "affordable_workers", lambda: AFFORDABLE)
        yield


def sites(**configured):
    return dask.config.set({"calbatch.sites": configured})


def local_place(workers, *, keeps=False):
    return Place("local", workers, "exposure", keeps_references=keeps)


# -- choosing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "exposures", "size", "place"),
    [
        (SiteRequest(), 9, SMALL_BATCH, Place("threads", CORES, "tile")),
        (SiteRequest(), 9, LARGE, local_place(AFFORDABLE)),
        (SiteRequest(), 2, LARGE, Place("local", AFFORDABLE, "tile")),
        (SiteRequest(workers=2), 9, LARGE, local_place(2, keeps=True)),
        (SiteRequest("local", workers=20), 9, 0, Place("local", 20, "tile")),
        (SiteRequest("local", workers=20, grain="exposure"), 9, 0, local_place(20)),
        (SiteRequest("local", grain="exposure"), 2, 0, local_place(2)),
        (SiteRequest("local", grain="exposure"), 0, 0, local_place(1)),
        (SiteRequest("local", workers=2), 2 * REUSES, 0, local_place(2)),
        (SiteRequest("local", workers=2), 2 * REUSES + 1, 0, local_place(2, keeps=True)),
        (SiteRequest("threads"), 1, 0, Place("threads", CORES, "tile")),
        (SiteRequest("threads", workers=3), 1, 0, Place("threads", 3, "tile")),
        (SiteRequest("sync", workers=3), 1, LARGE, Place("sync", 1, "tile")),
        (SiteRequest("tcp://h:1", insecure=True), 1, 0, Place("tcp://h:1", 0, "exposure", True)),
        (SiteRequest("tls://h:1", grain="tile"), 1, 0, Place("tls://h:1", 0, "tile")),
    ],
)
def test_all_that_a_request_leaves_open_is_chosen(request_, exposures, size, place):
    assert choose_place(request_, exposures, size) == place


@pytest.mark.parametrize(
    ("exposures", "size", "is_trusted", "scheduler"),
    [
        (FEW, FEW_BYTES, True, "threads"),
        (FEW + 1, FEW_BYTES, True, "local"),
        (FEW, FEW_BYTES + 1, True, "local"),
        (1, FEW_BYTES, False, "local"),
        (FEW + 1, SMALL_BATCH, False, "threads"),
    ],
)
def test_few_exposures_need_no_cluster(exposures, size, is_trusted, scheduler):
    place = choose_place(SiteRequest(), exposures, size, is_trusted=is_trusted)
    assert place.scheduler == scheduler
    for wish in (SiteRequest("local"), SiteRequest(grain="exposure"), SiteRequest(workers=2)):
        asked = choose_place(wish, exposures, size, is_trusted=is_trusted)
        assert asked.scheduler == "local" or size <= SMALL_BATCH


@pytest.mark.parametrize("cores", [1, 2])
def test_exposures_over_which_a_process_died_are_kept_from_this_one(monkeypatch, cores):
    monkeypatch.setattr(dask.system, "CPU_COUNT", cores)
    for wish in (SiteRequest(), SiteRequest("local"), SiteRequest(workers=9)):
        place = choose_place(wish, 1, 0, is_trusted=True, has_killed=True)
        assert (place.scheduler, place.grain) == ("local", "exposure")
    for name in placement.IN_PROCESS:
        assert choose_place(SiteRequest(name), 1, 0, has_killed=True).scheduler == name
    wish = SiteRequest("local", grain="tile")
    assert choose_place(wish, 1, 0, has_killed=True).grain == "tile"


def test_a_machine_with_one_core_starts_no_cluster(monkeypatch):
    monkeypatch.setattr(dask.system, "CPU_COUNT", 1)
    assert choose_place(SiteRequest(), 9, LARGE) == Place("threads", 1, "tile")


REQUESTS = st.builds(
    SiteRequest,
    st.sampled_from(["auto", "local", "threads", "sync", "tls://h:1"]),
    st.none() | st.integers(1, 50),
    st.sampled_from(["auto", "exposure", "tile"]),
)


@given(REQUESTS, st.integers(0, 1000), st.integers(0, 2**40))
def test_a_place_leaves_nothing_open(request_, exposures, size):
    place = choose_place(request_, exposures, size)
    assert place.scheduler != "auto"
    assert place.grain in ("exposure", "tile")
    assert (place.site is None) == (place.scheduler in placement.IN_PROCESS)
    if place.site is not None and request_.grain != "auto":
        assert place.grain == request_.grain
    if request_.workers and place.scheduler in ("local", "threads"):
        assert place.workers == request_.workers
    assert (place.workers == 0) == ("://" in place.scheduler)


@pytest.mark.parametrize("scheduler", ["loca", "", "processes", "127.0.0.1:8786"])
def test_other_schedulers_are_rejected(scheduler):
    with pytest.raises(RequestError, match=f"scheduler '{scheduler}': must be auto, local, "):
        check_request(SiteRequest(scheduler))


def test_an_unencrypted_scheduler_on_another_machine_is_rejected():
    with pytest.raises(RequestError, match="insecure"):
        check_request(SiteRequest("tcp://192.0.2.1:8786"))
    check_request(SiteRequest("tcp://192.0.2.1:8786", insecure=True))
    check_request(SiteRequest("tcp://127.0.0.1:8786"))


# -- named sites -------------------------------------------------------------------------------


def test_a_named_site_is_requested_with_its_options():
    with sites(big={"kind": "slurm", "jobs": 20}):
        request_ = SiteRequest(site="big", options={"jobs": "4"}, grain="exposure")
        place = choose_place(request_, 1, 0)
    assert (place.scheduler, place.workers, place.grain) == ("slurm", 0, "exposure")
    assert place.named_site.options == SlurmOptions(jobs=4)
    assert place.site is place.named_site
    assert place.description == "the site big"


@pytest.mark.parametrize(("workers", "expected"), [(None, 3), (2, 2)])
def test_a_named_local_site_is_a_local_cluster(workers, expected):
    with sites(desk={"kind": "local", "workers": 3}):
        place = choose_place(SiteRequest(site="desk", workers=workers), 100, 0)
    assert place == Place("local", expected, "exposure")


def test_options_need_a_site():
    with pytest.raises(RequestError, match=r"--site\.jobs: of which site\?"):
        SiteRequest(options={"jobs": "4"}).named_site()
    assert SiteRequest().named_site() is None


def test_a_site_that_is_not_configured_is_rejected():
    with sites(), pytest.raises(RequestError, match="site 'big': unknown"):
        check_request(SiteRequest(site="big"))


# -- places ------------------------------------------------------------------------------------

BIG = NamedSite("big", "slurm", SlurmOptions(jobs=20, cores=4))


@pytest.mark.parametrize(
    ("place", "site", "description", "threads"),
    [
        (Place("sync", 1, "tile"), None, "in this process, without threads", 0),
        (Place("threads", 3, "tile"), None, "in this process, in 3 threads", 3),
        (Place("local", 1, "tile"), LocalOptions(1), "1 local worker", 0),
        (Place("local", 2, "tile"), LocalOptions(2), "2 local workers", 0),
        (
            Place("tcp://h:1", 0, "tile", True), AddressOptions("tcp://h:1", True),
            "the scheduler at tcp://h:1", 0,
        ),
    ],
)  # fmt: skip
def test_a_place_knows_its_site_and_describes_itself(place, site, description, threads):
    assert (place.site and place.site.options) == site
    assert place.description == description
    assert place.threads == threads


@pytest.mark.parametrize("place", [
    Place("sync", 1, "tile"), Place("threads", 3, "tile"), Place("tls://h:1", 0, "exposure"),
    Place("local", 1, "exposure"),
])  # fmt: skip
def test_a_place_that_has_no_more_memory_stays_the_same_for_one_exposure(place):
    assert place.for_one() is place


def test_one_exposure_has_a_local_cluster_or_a_larger_job_for_itself():
    assert Place("local", 8, "exposure").for_one() == Place("local", 1, "exposure")
    alone = Place("slurm", 0, "exposure", named_site=BIG).for_one()
    assert (alone.named_site.options.jobs, alone.named_site.options.cores) == (1, 1)
    assert alone.for_one() != Place("slurm", 0, "exposure", named_site=BIG)


# -- opening -----------------------------------------------------------------------------------


def test_this_process_is_a_site():
    with open_place(Place("threads", 3, "tile")) as site:
        assert isinstance(site, InProcess)
        assert site.threads == 3


@pytest.fixture
def opened(monkeypatch):
    """Collect the sites that are opened, which are fakes, and those that are closed."""
    found = {"opened": [], "closed": 0}

    @contextmanager
    def open_site(site, grain, batch):
        found["opened"].append((site.options, grain, batch))
        yield FakeSite()
        found["closed"] += 1

    monkeypatch.setattr(placement, "open_site", open_site)
    return found


LOCAL = Place("local", 8, "exposure")


def test_a_site_is_opened_for_a_batch_and_for_one_exposure_alone(opened):
    with open_place(LOCAL, batch="b"), open_place(LOCAL, alone=True, batch="b"):
        assert opened["opened"] == [
            (LocalOptions(8), "exposure", "b"), (LocalOptions(1), "exposure", "b"),
        ]  # fmt: skip
    assert opened["closed"] == 2


def test_a_shared_site_stays_open_from_batch_to_batch(opened):
    with SharedSite(LOCAL) as shared:
        found = []
        for batch in ("a", "b"):
            with shared.open(replace(LOCAL, workers=2), False, batch) as site:
                found.append(site)
        assert found[0] is found[1]
        assert (len(opened["opened"]), opened["closed"]) == (1, 0)
    assert opened["closed"] == 1


def test_a_shared_site_is_opened_again_after_a_loss(opened):
    with SharedSite(LOCAL) as shared:
        with pytest.raises(SiteLostError), shared.open(LOCAL, False, "a") as first:
            raise SiteLostError("gone")
        with shared.open(LOCAL, False, "b") as second:
            assert second is not first
    assert len(opened["opened"]) == 2


def test_other_errors_leave_a_shared_site_open(opened):
    with SharedSite(LOCAL) as shared:
        with pytest.raises(ValueError, match="mine"), shared.open(LOCAL, False, "a"):
            raise ValueError("mine")
        with shared.open(LOCAL, False, "b"):
            assert len(opened["opened"]) == 1


def test_a_site_for_one_exposure_is_not_shared(opened):
    with SharedSite(LOCAL) as shared:
        with shared.open(LOCAL, True, "a"):
            assert opened["opened"] == [(LocalOptions(1), "exposure", "a")]
        assert opened["closed"] == 1


# -- preparing ---------------------------------------------------------------------------------


@pytest.fixture
def starts(monkeypatch):
    starts = []
    monkeypatch.setattr(local, "start_server", lambda: starts.append(1))
    return starts


def make_files(folder, count, size):
    folder.mkdir()
    for number in range(count):
        with (folder / f"{number}_uncal.fits").open("wb") as file:
            file.truncate(size)
    return folder


@pytest.mark.parametrize(
    ("request_", "count", "size", "is_started"),
    [
        (SiteRequest(), FEW + 1, LARGE, True),
        (SiteRequest(), FEW, SMALL_BATCH // FEW + 1, False),
        (SiteRequest(), FEW + 1, SMALL_BATCH // (FEW + 1), False),
        (SiteRequest("local"), 1, 1, True),
        (SiteRequest("threads"), FEW + 1, LARGE, False),
        (SiteRequest("tcp://h:1"), FEW + 1, LARGE, False),
        (SiteRequest("nowhere"), FEW + 1, LARGE, False),
        (SiteRequest(site="pc"), FEW + 1, LARGE, False),
    ],
)
def test_workers_are_prepared_where_they_are_likely(
    tmp_path, starts, request_, count, size, is_started
):
    folder = make_files(tmp_path / "raw", count, size)
    for inputs in ([str(folder)], [str(path) for path in folder.iterdir()]):
        prepare_likely_place(request_, inputs)
    assert len(starts) == 2 * is_started


def test_what_is_not_known_to_exist_prepares_nothing(tmp_path, starts):
    (tmp_path / "gone.fits").symlink_to("nothing")
    (tmp_path / "notes.txt").write_text("many words")
    unlikely = [str(tmp_path), str(tmp_path / "*.fits"), "s3://raw/", "n" * 400, "nul\0"]
    prepare_likely_place(SiteRequest(), unlikely)
    assert starts == []


def test_a_start_that_fails_is_left_to_the_driver(tmp_path, monkeypatch):
    def fail():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local, "start_server", fail)
    prepare_likely_place(SiteRequest("local"), [str(tmp_path)])
    with pytest.raises(OSError, match="No space left"):
        prepare_place(local_place(2))


# -- memory ------------------------------------------------------------------------------------

BRIEF = {reference_cache.SETTING: 0, DEFAULT_BYTES: SMALL_TILE_BYTES}


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        (local_place(2, keeps=True), {reference_cache.SETTING: None, DEFAULT_BYTES: None}),
        (local_place(2), BRIEF),
        (Place("threads", 2, "tile"), {**BRIEF, reference_cache.SETTING: None}),
        (Place("threads", 1, "tile"), {reference_cache.SETTING: None, DEFAULT_BYTES: None}),
        (Place("sync", 1, "tile"), {reference_cache.SETTING: None, DEFAULT_BYTES: None}),
    ],
)
def test_a_place_decides_on_the_memory_that_is_not_configured(place, wanted):
    def find():
        return {name: dask.config.get(name, None) for name in wanted}

    with dask.config.set(dict.fromkeys(wanted)), configure_memory(place):
        assert find() == wanted
    given = dict.fromkeys(wanted, 7)
    with dask.config.set(given), configure_memory(place):
        assert find() == given


def test_tiles_in_threads_are_small():
    with dask.config.set({DEFAULT_BYTES: None}), open_place(Place("threads", 2, "tile")) as site:
        assert isinstance(site, InProcess)
        assert dask.config.get(DEFAULT_BYTES) == SMALL_TILE_BYTES
