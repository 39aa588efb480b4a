"""Associations of two levels on simulated exposures."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from support.batches import DATE, calbatch, checksums
from support.toys import registered_toys, write_association

from calbatch.cluster.ledger import Ledger, View

HOW = ("--scheduler", "sync", "--date", DATE, "--no-fsync")


@pytest.fixture
def raw(tmp_path, monkeypatch, simulated):
    """Return a folder of three exposures and associations of two levels."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, path in zip("abc", simulated.exposures, strict=True):
        shutil.copy(path, folder / f"{name}_uncal.fits")
    members = ("science", "a_rate.fits"), ("background", "c_rate.fits")
    write_association(folder / "one_asn.json", ("p", members))
    images = ("science", "p_cal.fits"), ("science", "b_cal.fits"), ("catalog", "x.ecsv")
    write_association(folder / "two_asn.json", ("mosaic", images), rule="Asn_Lv3Image")
    with registered_toys(tmp_path / "site", monkeypatch):
        yield folder


def run(raw, *more, command="run", chain="toy1,toy2,toy3"):
    return calbatch(
        command, chain, raw, "-o", raw.parent / "out", *more,
        *(HOW if command == "run" else ()),
    )  # fmt: skip


def pixels(folder, name):
    return fits.getdata(folder / f"{name}.fits", "SCI")


def states(raw):
    """Return the states of the units of the latest batch, by their last pipeline and name."""
    with View(raw.parent / "out" / ".calbatch") as view:
        batch = view.batches()[-1]
        return {
            (row.pipeline, row.product or row.path.rpartition("/")[2]): row.state
            for row in view.exposures(batch.id)
        }


UNITS = [
    ("Toy1", "a_uncal.fits"),
    ("Toy1", "c_uncal.fits"),
    ("Toy2", "p"),
    ("Toy1", "b_uncal.fits"),
    ("Toy2", "b_rate.fits"),
    ("Toy3", "mosaic"),
]


def test_associations_are_calibrated_after_their_members(raw):
    done = run(raw)
    assert done.status == 0, done.out + done.err
    assert states(raw) == dict.fromkeys(UNITS, "done")
    out = raw.parent / "out"
    names = {path.name for path in out.glob("*.fits")}
    rates = {f"{n}_{suffix}.fits" for n in "abc" for suffix in ("rate", "rateints")}
    assert names == {*rates, "p_cal.fits", "b_cal.fits", "mosaic_i2d.fits"}
    a, b, c = (pixels(out, f"{n}_rate") for n in "abc")
    np.testing.assert_array_equal(pixels(out, "p_cal"), a - c)
    np.testing.assert_array_equal(pixels(out, "mosaic_i2d"), (a - c) + b)
    again = run(raw)
    assert "6 of them earlier" in again.err
    assert states(raw) == dict.fromkeys(UNITS, "kept")


def test_workers_make_the_same_products(raw):
    assert run(raw).status == 0
    how = ("--scheduler", "local", "--workers", "2", "--grain", "exposure")
    done = calbatch(
        "run", "toy1,toy2,toy3", raw, "-o", raw.parent / "local", "--date", DATE, "--no-fsync", *how
    )
    assert done.status == 0, done.err
    assert checksums(raw.parent / "local") == checksums(raw.parent / "out")


def test_another_context_with_the_same_references_changes_no_unit(raw):
    assert run(raw).status == 0
    how = ("--context", "jwst_0001.pmap", "--dry-run")
    shown = calbatch("recalibrate", raw.parent / "out", *how)
    assert shown.status == 0
    assert "0 of 6 exposures with other references in jwst_0001.pmap" in shown.err


def test_another_reference_of_a_background_repeats_what_used_it(raw):
    assert run(raw, "--force", chain="biased,toy2,toy3").status == 0
    (raw / "d_uncal.fits").write_text("arrived later, and is not in the batch")
    state = raw.parent / "out" / ".calbatch"
    with View(state) as view:
        (batch,) = view.batches()
        row = next(r for r in view.exposures(batch.id) if r.path.endswith("c_uncal.fits"))
        references = view.references(row.id)
    with Ledger(state) as ledger:  # as if c had been calibrated with an older one
        [_, digest] = references["superbias"]
        ledger.add_body("other", references | {"superbias": ["/old/superbias_0.fits", digest]})
        ledger.update_exposure(batch.id, row.number, refs="other", identity="older")
    done = calbatch("recalibrate", batch.name, "--context", batch.context)
    assert done.status == 0, done.err
    assert "c_uncal.fits: superbias superbias_0.fits -> " in done.err
    assert "1 of 6 exposures with other references" in done.err
    redone, kept = [("Biased", "c_uncal.fits"), ("Toy2", "p"), ("Toy3", "mosaic")], states(raw)
    assert {key for key, state in kept.items() if state == "done"} == {*redone}
    assert {key for key, state in kept.items() if state == "kept"} == {
        ("Biased", "a_uncal.fits"), ("Biased", "b_uncal.fits"), ("Toy2", "b_rate.fits"),
    }  # fmt: skip


def test_all_units_are_repeated_on_request(raw):
    assert run(raw).status == 0
    assert run(raw, "--force").status == 0
    assert states(raw) == dict.fromkeys(UNITS, "done")


def test_a_changed_background_repeats_its_products(raw):
    assert run(raw).status == 0
    background = raw / "c_uncal.fits"
    with fits.open(background, mode="update") as hdus:
        hdus["SCI"].data[..., 20:30] += 1
    assert run(raw).status == 0
    redone = {key for key, state in states(raw).items() if state == "done"}
    assert redone == {("Toy1", "c_uncal.fits"), ("Toy2", "p"), ("Toy3", "mosaic")}


def test_a_failure_blocks_dependent_units_until_it_is_repaired(raw):
    background = raw / "c_uncal.fits"
    good = background.read_bytes()
    background.write_bytes(good[:5000])
    done = run(raw)
    assert done.status == 1
    assert "not begun: c_uncal.fits failed" in done.out + done.err
    failed = {key for key, state in states(raw).items() if state == "failed"}
    assert failed == {("Toy1", "c_uncal.fits"), ("Toy2", "p"), ("Toy3", "mosaic")}
    background.write_bytes(good)
    only = run(raw, "--only-failed")
    assert only.status == 0, only.err
    assert set(states(raw).values()) == {"kept", "done"}
    whole = checksums(raw.parent / "out")
    shutil.rmtree(raw.parent / "out")
    assert run(raw).status == 0
    assert checksums(raw.parent / "out") == whole


def test_a_product_that_fails_is_named_by_its_association(raw):
    write_association(raw / "one_asn.json", ("p", [("science", "c_rate.fits")]))
    done = run(raw, "--scale.post_hooks=support.toys.fail_unless_repaired")
    assert done.status == 1
    assert "two_asn.json: not begun: one_asn.json failed" in done.out + done.err
    assert states(raw)["Toy2", "p"] == "failed"


def test_resuming_repeats_the_units_that_depend_on_a_repair(raw):
    background = raw / "c_uncal.fits"
    good = background.read_bytes()
    background.write_bytes(good[:5000])
    assert run(raw).status == 1
    background.write_bytes(good)
    done = calbatch("resume", raw.parent / "out")
    assert done.status == 0, done.err
    assert states(raw) == dict.fromkeys(UNITS, "done")


def test_the_manifest_records_members_and_makers(raw):
    assert run(raw).status == 0
    (manifest,) = (raw.parent / "out" / ".calbatch").glob("*/manifest.json")
    entries = json.loads(manifest.read_text())["exposures"]
    by_name = {(e.get("pipeline"), e.get("product") or e["input"][-12:]): e for e in entries}
    image, mosaic = by_name["Toy2", "p"], by_name["Toy3", "mosaic"]
    science, background = image["members"]
    assert (science["role"], background["role"]) == ("science", "background")
    assert entries[background["maker"]]["input"].endswith("c_uncal.fits")
    assert entries[mosaic["members"][0]["maker"]] is image
    (raw.parent / "out" / ".calbatch" / "ledger.sqlite").write_bytes(b"noise" * 4000)
    assert calbatch("rebuild", raw.parent / "out").status == 0
    with View(raw.parent / "out" / ".calbatch") as view:
        (batch,) = view.batches()
        members = {unit.product: unit.members for unit in view.units(batch.id)}
    assert [m.maker for m in members["p"]] == [science["maker"], background["maker"]]
    assert run(raw).status == 0
    assert set(states(raw).values()) == {"kept"}


def test_a_plan_counts_the_units_that_wait(raw):
    shown = run(raw, command="plan").out
    assert "3 exposures" in shown
    assert "3 more units wait for products of others, at most 3 units in sequence" in shown


@pytest.mark.agreement
def test_products_name_their_association_as_in_jwst(raw):
    from jwst.datamodels import ModelLibrary

    pool = "jw00001_20260101t000000_pool.csv"
    images = ("science", "p_cal.fits"), ("science", "b_cal.fits")
    write_association(
        raw / "two_asn.json", ("mosaic", images), rule="Asn_Lv3Image", asn_pool=pool
    )  # fmt: skip
    assert run(raw).status == 0
    out = raw.parent / "out"
    shutil.copy(raw / "two_asn.json", out)
    library = ModelLibrary(out / "two_asn.json")
    with library:
        theirs = library.borrow(0)
        found = fits.getheader(out / "mosaic_i2d.fits")
        assert (found["ASNPOOL"], found["ASNTABLE"]) == (pool, "two_asn.json")
        assert theirs.meta.asn.pool_name == found["ASNPOOL"]
        assert theirs.meta.asn.table_name == found["ASNTABLE"]
        library.shelve(theirs, 0, modify=False)
    image, single = (fits.getheader(out / f"{name}_cal.fits") for name in "pb")
    assert image["ASNTABLE"] == "one_asn.json"
    assert "ASNPOOL" not in image
    assert "ASNTABLE" not in single


def test_another_pool_repeats_the_products_that_name_it(raw):
    (raw / "two_asn.json").unlink()
    assert run(raw, chain="toy1,toy2").status == 0
    members = ("science", "a_rate.fits"), ("background", "c_rate.fits")
    write_association(raw / "one_asn.json", ("p", members), asn_pool="other")
    assert run(raw, chain="toy1,toy2").status == 0
    assert {key for key, state in states(raw).items() if state == "done"} == {("Toy2", "p")}


def test_an_association_that_disappears_fails_its_product_by_name(raw):
    background = raw / "c_uncal.fits"
    good = background.read_bytes()
    background.write_bytes(good[:5000])
    assert run(raw).status == 1
    background.write_bytes(good)
    (raw / "one_asn.json").unlink()
    done = calbatch("resume", raw.parent / "out")
    assert done.status == 1
    assert "one_asn.json: " in done.out + done.err
    assert states(raw)["Toy1", "c_uncal.fits"] == "done"
    assert states(raw)["Toy2", "p"] == "failed"


def test_an_output_file_names_the_product_of_one_association(raw):
    out = raw.parent / "out"
    assert run(raw, chain="toy1").status == 0
    asn = shutil.copy(raw / "one_asn.json", out)
    how = ("-o", raw.parent / "cal", *HOW, "--output_file=mine")
    done = calbatch("run", "toy2", asn, *how)
    assert done.status == 0, done.err
    assert [path.name for path in (raw.parent / "cal").glob("*.fits")] == ["mine_cal.fits"]
    write_association(
        out / "one_asn.json", *((n, [("science", f"{n}_rate.fits")]) for n in "ab")
    )  # fmt: skip
    refused = calbatch("run", "toy2", asn, *how)
    assert refused.status == 2
    assert "output_file = mine: 2 products need names" in refused.err


def test_a_plan_of_an_association_of_files_runs_it_with_its_members(raw):
    out = raw.parent / "out"
    assert run(raw).status == 0
    shutil.copy(raw / "two_asn.json", out)
    shown = calbatch("plan", "toy3", out / "two_asn.json", "-o", raw.parent / "i2d")
    assert shown.status == 0, shown.out
    assert "would fail" not in shown.out


def test_one_pipeline_takes_associations_of_files(raw):
    out = raw.parent / "out"
    assert run(raw, chain="toy1").status == 0
    shutil.copy(raw / "one_asn.json", out)
    done = calbatch("run", "toy2", out, "-o", raw.parent / "cal", *HOW)
    assert done.status == 0, done.err
    names = {path.name for path in (raw.parent / "cal").glob("*.fits")}
    assert names == {"p_cal.fits", "b_cal.fits"}


@pytest.mark.parametrize(
    ("products", "message"),
    [
        ([("p", [("science", "d_rate.fits")])], "the member d_rate.fits of p is neither a file"),
        ([("p", [("science", "a_x1d.fits")])], "no pipeline takes a_x1d.fits as a member"),
        ([("p", [("science", "a_rate.fits")] * 2)], "p lists a_rate.fits twice"),
        (
            [("p", [("science", "a_rate.fits")]), ("p", [("science", "b_rate.fits")])],
            "would both be called p_cal.fits",
        ),
        ([("p", [("science", "../a_rate.fits")])], "must be the name of a file beside the"),
    ],
)
def test_an_unusable_association_is_refused_by_name(raw, products, message):
    write_association(raw / "one_asn.json", *products)
    done = run(raw)
    assert done.status == 2
    assert message in done.err
    assert "one_asn.json" in done.err
    assert not (raw.parent / "out" / ".calbatch" / "ledger.sqlite").exists()


def test_a_pipeline_that_combines_needs_an_association(raw):
    (raw / "two_asn.json").unlink()
    done = run(raw)
    assert done.status == 2
    assert "Toy3 combines exposures: give associations (*_asn.json) of cal products" in done.err
