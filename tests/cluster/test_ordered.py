"""Exposures in order, each of which hands on a state to the next."""

import numpy as np
import pytest
from astropy.io import fits
from support.batches import DATE, calbatch, checksums, copy_changed
from support.toys import registered_toys, write_association

from calbatch.cluster.folder import find_batch
from calbatch.cluster.ledger import View

HOW = ("--scheduler", "sync", "--date", DATE, "--no-fsync")
TIMES = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 9.0, "e": 8.0}
DETECTORS = {"d": "NRCA2", "e": "NRCA2"}
ORDERS = ["bca", "ed"]


@pytest.fixture
def raw(tmp_path, monkeypatch, simulated):
    """Return a folder of exposures of two detectors, whose names are not in order of time."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, (name, start) in enumerate(TIMES.items()):
        source = simulated.exposures[number % 3]
        cards = {"EXPSTART": 60000 + start, "DETECTOR": DETECTORS.get(name, "NRCA1")}
        copy_changed(source, folder / f"{name}_uncal.fits", **cards)
    with registered_toys(tmp_path / "site", monkeypatch):
        yield folder


def run(raw, *more, pipeline="ordered"):
    return calbatch("run", pipeline, raw, "-o", raw.parent / "out", *HOW, *more)


def pixels(folder, name, suffix):
    return fits.getdata(folder / f"{name}_{suffix}.fits", "SCI").astype(float)


def names_of_redone(raw):
    with View(raw.parent / "out" / ".calbatch") as view:
        rows = view.exposures(view.batches()[-1].id, "done")
        return sorted(row.path.rpartition("/")[2] for row in rows)


def redone(raw):
    return [name[0] for name in names_of_redone(raw)]


def keep_only(raw, names):
    for name in set(TIMES) - set(names):
        (raw / f"{name}_uncal.fits").unlink()


def require_sums(raw):
    for order in ORDERS:
        total = 0.0
        for name in order:
            total = pixels(raw, name, "uncal") + 2 * total
            np.testing.assert_allclose(
                pixels(raw.parent / "out", name, "ramp"),
                total,
                rtol=1e-6,  # float32 sums
            )


def test_each_exposure_receives_the_state_of_the_one_before(raw):
    done = run(raw)
    assert done.status == 0, done.err
    require_sums(raw)
    assert "5 of them earlier" in run(raw).err


def test_a_change_repeats_what_comes_later(raw):
    assert run(raw).status == 0
    with fits.open(raw / "c_uncal.fits", mode="update") as hdus:
        hdus["SCI"].data[..., 3:9] += 1
    assert run(raw).status == 0
    assert redone(raw) == ["a", "c"]
    require_sums(raw)


def test_an_exposure_that_cannot_be_placed_is_refused_and_repeats_what_comes_later(raw):
    broken = raw / "c_uncal.fits"
    good = broken.read_bytes()
    broken.write_bytes(good[:5000])
    done = run(raw)
    assert done.status == 2
    assert "accumulate takes exposures in order" in done.err
    assert "c_uncal.fits" in done.err
    assert calbatch("plan", "ordered", raw).status == 2
    assert not (raw.parent / "out" / ".calbatch" / "ledger.sqlite").exists()
    broken.unlink()
    assert run(raw).status == 0
    total = pixels(raw, "a", "uncal") + 2 * pixels(raw, "b", "uncal")
    np.testing.assert_allclose(pixels(raw.parent / "out", "a", "ramp"), total, rtol=1e-6)
    broken.write_bytes(good)
    assert run(raw).status == 0
    assert redone(raw) == ["a", "c"]
    require_sums(raw)


def test_an_attempt_that_fails_after_its_predecessor_hands_on_nothing(raw):
    failing = "support.toys.fail_unless_repaired"
    done = run(raw, f"--accumulate.post_hooks={failing}")
    assert done.status == 1
    total = pixels(raw, "a", "uncal")  # the state of c, which failed, is not received
    np.testing.assert_allclose(pixels(raw.parent / "out", "a", "ramp"), total, rtol=1e-6)
    assert not (raw.parent / "out" / "c_memory.fits").exists()


def test_resuming_continues_in_order(raw):
    assert run(raw).status == 0
    whole = checksums(raw.parent / "out")
    name = find_batch(str(raw.parent / "out")).name
    from calbatch.cluster.ledger import Ledger

    with Ledger(raw.parent / "out" / ".calbatch") as ledger:
        (batch,) = list(ledger._rows("SELECT * FROM batches"))
        for row in list(ledger._rows("SELECT * FROM exposures")):
            if row["path"].endswith(("a_uncal.fits", "c_uncal.fits")):
                ledger.update_exposure(batch["id"], row["number"], state="waiting", identity=None)
        ledger.end_batch(batch["id"], "interrupted")
    for product in ("a_ramp", "a_memory", "c_ramp", "c_memory"):
        (raw.parent / "out" / f"{product}.fits").unlink()
    assert calbatch("resume", name).status == 0
    assert checksums(raw.parent / "out") == whole


def test_a_skipped_step_needs_no_order(raw):
    shown = calbatch("plan", "ordered", raw, "--accumulate.skip=true").out
    assert "wait" not in shown
    shown = calbatch("plan", "ordered", raw).out
    assert "3 more units wait for products of others, at most 3 units in sequence" in shown


def test_two_steps_in_the_same_order_receive_a_state_each(raw):
    keep_only(raw, "de")
    done = run(raw, pipeline="twice")
    assert done.status == 0, done.err
    out = raw.parent / "out"
    total = pixels(raw, "d", "uncal") + 2 * pixels(raw, "e", "uncal")
    np.testing.assert_allclose(pixels(out, "d", "ramp"), total, rtol=1e-6)  # float32 sums
    names = [fits.getheader(out / f"{name}_ramp.fits")["TARGPROP"] for name in "ed"]
    assert names == ["none", "e_count.fits"]


def test_a_state_that_is_not_written_fails_the_exposure(raw):
    keep_only(raw, "de")
    done = run(raw, pipeline="lost")
    assert done.status == 1
    text = "forgetful hands on the product 'memory' to the next exposure, but it is not written"
    assert text in done.out + done.err
    assert run(raw, "--forgetful.save_results=true", pipeline="lost").status == 0


def test_a_chain_that_associations_cut_hands_on_states_in_its_first_part(raw):
    keep_only(raw, "de")
    members = ("science", "d_rate.fits"), ("background", "e_rate.fits")
    write_association(raw / "one_asn.json", ("p", members))
    done = run(raw, pipeline="ordered,rating,toy2")
    assert done.status == 0, done.err
    d, e = (pixels(raw, name, "uncal") for name in "de")
    np.testing.assert_allclose(
        pixels(raw.parent / "out", "p", "cal"),
        (d + 2 * e - e).mean(axis=(0, 1)),
        rtol=1e-5,  # float32 sums and means
    )


def test_a_later_stage_takes_products_in_the_order_of_their_exposures(raw):
    members = ("science", "c_rate.fits"), ("background", "e_rate.fits")
    write_association(raw / "one_asn.json", ("p", members))
    done = run(raw, pipeline="toy1,toy2,trail")
    assert done.status == 0, done.err
    out = raw.parent / "out"
    total = 0.0
    for name in ("b", "p", "a"):  # c is the science exposure of p
        total = pixels(out, name, "cal") + 2 * total
        np.testing.assert_allclose(
            pixels(out, name, "trail"),
            total,
            rtol=1e-6,  # float32 sums
        )
    np.testing.assert_array_equal(pixels(out, "d", "trail"), pixels(out, "d", "cal"))
    with fits.open(raw / "e_uncal.fits", mode="update") as hdus:
        hdus["SCI"].data[..., 3:9] += 1
    assert run(raw, pipeline="toy1,toy2,trail").status == 0
    assert names_of_redone(raw) == ["a_cal.fits", "e_uncal.fits", "one_asn.json", "p_cal.fits"]


def test_associations_have_no_order(raw):
    write_association(raw / "one_asn.json", ("p", [("science", "a_uncal.fits")]))
    done = run(raw, pipeline="gathered")
    assert done.status == 2
    assert "one_asn.json: accumulate takes exposures in order, and products" in done.err
