"""`calbatch watch` in a folder where associations and their members arrive in any order."""

import shutil

import pytest
from astropy.io import fits
from support.batches import DATE, calbatch, checksums
from support.toys import registered_toys, write_association

from calbatch.cluster.cli.commands import again
from calbatch.cluster.ledger import View

CHAIN = "toy1,toy2,toy3"
HOW = ("--scheduler", "sync", "--date", DATE, "--no-fsync")
MEMBERS = ("science", "a_rate.fits"), ("background", "c_rate.fits")


@pytest.fixture
def watched(simulated, tmp_path, monkeypatch):
    """Return a folder, and a list of functions, of which one is called after each batch."""
    monkeypatch.setattr(again, "EVERY", 0.05)
    folder, events, drive = tmp_path / "raw", [], again.drive
    folder.mkdir()

    def drive_and_note(*arguments, **options):
        result = drive(*arguments, **options)
        if events:
            events.pop(0)()
        return result

    monkeypatch.setattr(again, "drive", drive_and_note)
    with registered_toys(tmp_path / "site", monkeypatch):
        yield folder, events


def put(folder, simulated, *names):
    for name in names:
        shutil.copy(simulated.exposures["abc".index(name)], folder / f"{name}_uncal.fits")


def associate(folder):
    write_association(folder / "one_asn.json", ("p", MEMBERS))
    images = ("science", "p_cal.fits"), ("science", "b_cal.fits")
    write_association(folder / "two_asn.json", ("mosaic", images), rule="Asn_Lv3Image")


def watch(folder, settle="0.05"):
    out = folder.parent / "out"
    return calbatch("watch", CHAIN, folder, "-o", out, *HOW, "--settle", settle, "--idle", "0.5")


def list_done(folder):
    """Return the names of the units that each batch has calibrated, without those it kept."""
    with View(folder.parent / "out" / ".calbatch") as view:
        return [
            [row.product or row.path.rpartition("/")[2] for row in view.exposures(batch.id, "done")]
            for batch in view.batches()
        ]


def test_the_products_are_those_of_a_batch_in_whichever_order_files_arrive(watched, simulated):
    folder, events = watched
    put(folder, simulated, "a", "b")
    events += [lambda: associate(folder) or put(folder, simulated, "c")]
    completed = watch(folder)
    assert completed.status == 0, completed.err
    assert list_done(folder) == [
        ["a_uncal.fits", "a_rate.fits", "b_uncal.fits", "b_rate.fits"],
        ["c_uncal.fits", "p", "mosaic"],
    ]
    again = calbatch("run", CHAIN, folder, "-o", folder.parent / "out", *HOW)
    assert "6 of them earlier" in again.err
    assert calbatch("run", CHAIN, folder, "-o", folder.parent / "whole", *HOW).status == 0
    found, wanted = (checksums(folder.parent / name) for name in ("out", "whole"))
    assert found.pop("a_cal.fits")  # made before its association arrived
    assert found == wanted


def test_a_changed_member_repeats_what_used_it(watched, simulated):
    folder, events = watched
    put(folder, simulated, "a", "b", "c")
    associate(folder)

    def change():
        with fits.open(folder / "c_uncal.fits", mode="update") as hdus:
            hdus["SCI"].data[..., 20:30] += 1

    events += [change]
    assert watch(folder).status == 0
    assert list_done(folder)[1] == ["c_uncal.fits", "p", "mosaic"]


def test_a_member_that_fails_is_repaired_by_a_new_copy(watched, simulated):
    folder, events = watched
    put(folder, simulated, "a", "b")
    (folder / "c_uncal.fits").write_bytes(b"SIMPLE")
    associate(folder)
    events += [lambda: put(folder, simulated, "c")]
    completed = watch(folder, settle="0")  # a damaged file begins with the others
    assert completed.status == 1
    assert "not begun: c_uncal.fits failed" in completed.err + completed.out
    assert list_done(folder)[1] == ["c_uncal.fits", "p", "mosaic"]


def test_an_interrupted_batch_of_units_continues(watched, simulated, monkeypatch):
    from calbatch.cluster.driver.control import StopRequest, request_stop

    folder, _ = watched
    put(folder, simulated, "a", "b", "c")
    associate(folder)
    drive, stopped = again.drive, []

    def stop_and_drive(batch, *arguments, **options):
        if not stopped:
            stopped.append(request_stop(batch.folder.control, StopRequest.LATER))
        return drive(batch, *arguments, **options)

    monkeypatch.setattr(again, "drive", stop_and_drive)
    completed = watch(folder)
    assert completed.status == 0, completed.err
    assert sum(map(len, list_done(folder))) == 6
