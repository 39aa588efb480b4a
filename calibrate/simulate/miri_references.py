"""Reference files that only MIRI has: reset anomaly, groups to exclude, and interference."""

from collections.abc import Iterator

import numpy as np

from calbatch.calibrate.simulate.effects.drift import make_emicorr_tree
from calbatch.calibrate.simulate.instruments import READPATTS
from calbatch.calibrate.simulate.ramp import RESET_GROUPS, reset_factor
from calbatch.calibrate.simulate.reference_parts import (
    USEAFTER,
    Reference,
    Setting,
    encode_flags,
    reference_cards,
)
from calbatch.calibrate.simulate.write import Extension

MIRI_INTEGRATIONS = 2  # in a MIRI dark or reset; later integrations use the last
EXCLUDED_GROUPS = (1, 2)  # in the first integration of MIRI's exposures, and in later ones


def make_miri_references(setting: Setting) -> Iterator[Reference]:
    """Yield the references of MIRI that other instruments do not have."""
    yield _reset(setting)
    yield _rscd(setting)
    yield _emicorr(setting)


def _reset(setting: Setting) -> Reference:
    """Return the reset anomaly of MIRI."""
    maps = setting.maps.cut(setting.readout.frame)
    groups = range(RESET_GROUPS)
    data = np.stack(
        [
            np.stack([maps.reset * np.float32(reset_factor(integration, g)) for g in groups])
            for integration in range(MIRI_INTEGRATIONS)
        ]
    )
    cards = [
        *reference_cards(setting, "reset", "ResetModel", setting.readout.frame),
        ("READPATT", setting.readout.readpatt, "Readout pattern"),
        ("NGROUPS", RESET_GROUPS, "Number of groups in integration"),
        ("NINTS", MIRI_INTEGRATIONS, "Number of integrations in exposure"),
    ]
    flags = encode_flags({"UNRELIABLE_BIAS": np.zeros(setting.readout.frame.shape, dtype=bool)})
    extensions = [Extension("SCI", data), Extension("ERR", np.zeros_like(data)), *flags]
    keys = {
        "DETECTOR": setting.spec.detector,
        "SUBARRAY": setting.readout.subarray,
        "READPATT": setting.readout.readpatt,
    }
    return Reference(
        kind="reset",
        instrument="MIRI",
        frame=setting.readout.frame,
        keys=keys,
        cards=cards,
        extensions=extensions,
    )


def _rscd(setting: Setting) -> Reference:
    """Return the rscd reference: the numbers of groups to exclude, for one subarray."""
    readout = setting.readout
    columns = [
        ("subarray", "S17"),
        ("readpatt", "S12"),
        ("group_skip1", "i4"),
        ("group_skip", "i4"),
    ]
    rows = [
        (readout.subarray.encode(), pattern.encode(), *EXCLUDED_GROUPS)
        for pattern in READPATTS["MIRI"]
    ]
    return Reference(
        kind="rscd",
        instrument="MIRI",
        frame=readout.frame,
        keys={"DETECTOR": setting.spec.detector, "SUBARRAY": readout.subarray},
        cards=reference_cards(setting, "rscd", "RSCDModel", readout.frame),
        extensions=[Extension("RSCD_GROUP_SKIP", np.array(rows, columns))],
    )


def _emicorr(setting: Setting) -> Reference:
    """Return the waves of MIRI's interference, for one subarray and readout pattern."""
    readout = setting.readout
    meta = {
        "author": "calbatch simulate",
        "description": "Simulated emicorr reference",
        "instrument": {"detector": setting.spec.detector, "name": "MIRI"},
        "pedigree": "SIMULATION",
        "reftype": "emicorr",
        "telescope": "JWST",
        "useafter": USEAFTER,
    }
    return Reference(
        kind="emicorr",
        instrument="MIRI",
        frame=readout.frame,
        keys={
            "DETECTOR": setting.spec.detector,
            "SUBARRAY": readout.subarray,
            "READPATT": readout.readpatt,
        },
        cards=[],
        extensions=[],
        tree={"meta": meta, **make_emicorr_tree(readout)},
    )
