"""Orders, as they are recorded in the ledger."""

import json

import dask
import pytest
from support import fits_bytes

from calbatch.calibrate.step import Step
from calbatch.cluster.batch.options import BatchOptions
from calbatch.cluster.batch.order import Order
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.cluster.sites.placement import SMALL_BATCH

RECORDED = {
    "inputs": ["a_uncal.fits"],
    "context": "jwst_1303.pmap",
    "pars": False,
    "options": {
        "date": "2024-01-31T12:00:00",
        "fsync": False,
        "tile_rows": 8,
        "tile_bytes": None,
        "verify_inputs": True,
    },
    "wish": {
        "scheduler": "auto",
        "workers": 3,
        "grain": "tile",
        "insecure": True,
        "site": "big",
        "options": {"jobs": "4"},
    },
    "again": {"force": True, "verify": False, "only_failed": True},
    "policy": {
        "retries": 4,
        "deaths": 2,
        "deaths_alone": 3,
        "first_delay": 0.5,
        "longest_delay": 30.0,
        "losses": 20,
        "deadline": 9.0,
        "fail_fast": False,
        "patience": 600.0,
        "silence": 60.0,
    },
    "recursive": True,
    "page": False,
}
"""An order as ledgers have it: releases must read each other's."""

OPTIONS = BatchOptions(
    context="jwst_1303.pmap",
    pars=False,
    date="2024-01-31T12:00:00",
    fsync=False,
    tile_rows=8,
    verify_inputs=True,
    workers=3,
    grain="tile",
    insecure=True,
    site="big",
    force=True,
    only_failed=True,
    policy=RetryPolicy(deadline=9.0),
    recursive=True,
    page=False,
)


def test_the_recorded_form_of_an_order_is_fixed():
    order = Order.from_options(["a_uncal.fits"], OPTIONS, {"jobs": "4"})
    assert json.loads(json.dumps(order.as_json())) == RECORDED
    assert Order.from_json(RECORDED) == order


@pytest.mark.parametrize(("missing", "default"), [("recursive", False), ("page", True)])
def test_orders_of_older_ledgers_are_read(missing, default):
    older = {key: value for key, value in RECORDED.items() if key != missing}
    assert getattr(Order.from_json(older), missing) is default


def make_step(name="jump", **parameters):
    return configure_step(name, parameters={"": parameters})


def own_function(model):
    return model


class OwnStep(Step):
    """A step of a user."""


PLAIN = fits_bytes.primary() + fits_bytes.image("SCI", 8, (2880, SMALL_BATCH // 2880 + 1), b"")
COMPRESSED = fits_bytes.header(
    *("XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", "NAXIS1 = 8", "NAXIS2 = 1"),
    *("PCOUNT = 0", "GCOUNT = 1", "TFIELDS = 1", "TTYPE1 = 'COMPRESSED_DATA'"),
    *("TFORM1 = '1PB(1)'", "ZIMAGE = T", "ZCMPTYPE= 'RICE_1'", "ZBITPIX = 16"),
    *("ZNAXIS = 2", "ZNAXIS1 = 4", "ZNAXIS2 = 4", "ZTILE1 = 4", "ZTILE2 = 1"),
)


@pytest.mark.parametrize(
    ("step", "content", "is_proven", "scheduler"),
    [
        (make_step(), PLAIN, True, "threads"),
        (make_step("detector1"), PLAIN, True, "threads"),
        (make_step(), PLAIN, False, "local"),
        (make_step(), b"\x1f\x8b", True, "local"),
        (make_step(), fits_bytes.primary() + COMPRESSED + bytes(2880), True, "local"),
        (make_step(), b"not FITS", True, "local"),
        (make_step(post_hooks=[own_function]), PLAIN, True, "local"),
        (OwnStep(), PLAIN, True, "local"),
    ],
)
def test_a_crash_of_other_code_is_kept_from_the_driver(
    step, content, is_proven, scheduler, tmp_path, monkeypatch
):
    monkeypatch.setattr(dask.system, "CPU_COUNT", 2)
    path = tmp_path / "a.fits"
    with path.open("wb") as stream:
        stream.write(content)
        stream.truncate(2880 * (SMALL_BATCH // 2880 + 10))
    place = Order(inputs=()).choose_place(step, 1, [path], is_proven=is_proven, has_killed=False)
    assert place.scheduler == scheduler
