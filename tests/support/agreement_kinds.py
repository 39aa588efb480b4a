"""The kinds of exposures in the table of agreement, from the enumerations of jwst's own schema.

Every exposure type and every readout pattern of the core schema occurs. For a kind that the
simulator cannot make, another exposure stands in, whose header claims the mode: it shows only
that calbatch refuses the mode.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from stdatamodels.jwst import datamodels as jwst_models

from calbatch.calibrate.simulate import PRESETS, Noise, SimulationSpec, Sky
from calbatch.calibrate.simulate.instruments import IRS2, READPATTS, find_detector
from calbatch.calibrate.simulate.stripe_pattern import StripePattern
from support.simulated import USUAL_DETECTOR

ROUGH = Noise(cosmic_rays=1000.0, hot=0.01, dead=0.01, bad_references=0.03)
"""Cosmic-ray hits in many ramps; dead, hot, saturated and NaN-reference pixels."""

PREFIXES = {"FGS": "FGS", "MIR": "MIRI", "NIS": "NIRISS", "NRC": "NIRCAM", "NRS": "NIRSPEC"}
"""Instruments by the first letters of their exposure types."""

OF_SCHEMA_ONLY = ("ANY", "N/A")
"""Values that references have, in place of a pattern or type."""

EDGE, MIDDLE, WIDE = "window at the edge", "window in the middle", "full width"
FULL, INTERLEAVED = "full frame", "full frame, IRS2"
GUIDE_STAR, MULTISTRIPE, SUPERSTRIPE = "guide star", "multistripe", "superstripe"
FURTHER = "window in the middle, further steps"

SMALL = {
    EDGE: {"shape": (24, 40), "corner": (1, 1)},
    MIDDLE: {"shape": (24, 40), "corner": (600, 700)},
}
"""Windows with and without reference pixels."""

STRIPED = {
    "dhs": {
        "detector": "NRCA2", "subarray": "SUB164STRIPE4_DHS", "shape": (2048, 16),
        "stripes": StripePattern(size=164, reads1=1, skips1=1526, reads2=40, skips2=85),
    },
    "rows": {
        "detector": "NRCB1", "subarray": "FULL_SUPSTP510", "shape": (2048, 12),
        "stripes": StripePattern(size=514, reads1=4, reads2=510, step=510, positions=4),
    },
    "soss": {
        "subarray": "SUB680STRIPE_SOSS", "shape": (12, 2048), "exposure_type": "NIS_SOSS",
        "stripes": StripePattern(size=684, reads1=4, reads2=680, step=680, positions=3, whole=True),
    },
}  # fmt: skip
"""Fields of the specs of striped exposures."""

LARGE = {
    "FGS": {FULL: {}},
    "MIRI": {FULL: {}},
    "NIRCAM": {WIDE: {"shape": (12, 2048), "corner": (1, 1)}, FULL: {}, MULTISTRIPE: STRIPED["dhs"],
               SUPERSTRIPE: STRIPED["rows"]},
    "NIRISS": {WIDE: {"shape": (12, 2048), "corner": (2037, 1)}, FULL: {},
               SUPERSTRIPE: STRIPED["soss"]},
    "NIRSPEC": {WIDE: {"shape": (12, 2048), "corner": (957, 1)}, FULL: {}},
}  # fmt: skip
"""Further families of subarrays: fields of the spec."""

CLAIMS = {
    "NRSN8R2": {"NRS_NORM": 8, "NRS_REF": 2},
    "NRSN32R8": {"NRS_NORM": 32, "NRS_REF": 8},
}
"""Header cards of exposures that stand in for patterns; READPATT stays, for the references."""


EVENTS = {"expand_large_events": True, "edge_size": 5}
MIGRATION = {"skip": False, "signal_threshold": 15000.0}
WINDOWS = {"skip": False, "persistence_time": 60}
FURTHER_STEPS: dict[str, dict[str, dict[str, dict[str, Any]]]] = {
    "FGS": {
        "FGS_IMAGE": {
            "charge_migration": MIGRATION, "jump": EVENTS | {"find_showers": True},
            "clean_flicker_noise": {"skip": False, "background_method": "model"},
            "persistence": WINDOWS | {"persistence_dnu": True},
        },
    },
    "MIRI": {
        "MIR_IMAGE": {
            "emicorr": {"skip": False}, "firstframe": {"skip": False},
            "charge_migration": MIGRATION, "jump": {"find_showers": True},
            "clean_flicker_noise": {"skip": False}, "persistence": WINDOWS,
        },
        "MIR_MRS": {
            "emicorr": {"skip": False, "algorithm": "sequential"},
            "jump": {"find_showers": True}, "ramp_fit": {"algorithm": "LIKELY"},
        },
    },
    "NIRCAM": {
        "NRC_IMAGE": {
            "charge_migration": MIGRATION, "jump": EVENTS,
            "clean_flicker_noise": {"skip": False, "autoparam": True},
            "persistence": WINDOWS, "ramp_fit": {"suppress_one_group": False},
        },
        "NRC_WFSS": {
            "jump": EVENTS | {"sat_required_snowball": False},
            "clean_flicker_noise": {"skip": False, "single_mask": False},
            "ramp_fit": {"algorithm": "LIKELY"},
        },
    },
    "NIRISS": {
        "NIS_SOSS": {
            "charge_migration": MIGRATION, "jump": EVENTS,
            "clean_flicker_noise": {"skip": False}, "persistence": WINDOWS,
        },
    },
    "NIRSPEC": {
        "NRS_BRIGHTOBJ": {
            "charge_migration": MIGRATION, "jump": EVENTS,
            "clean_flicker_noise": {"skip": False, "fit_method": "fft"}, "persistence": WINDOWS,
        },
    },
}  # fmt: skip
"""Parameters by step of kinds with steps that are off by default, by instrument and type."""

EVENTFUL: dict[str, Any] = {
    "shape": (56, 64), "corner": (600, 700), "ngroups": 14, "zero_frame": True,
    "noise": replace(ROUGH, snowballs=100.0, showers=50.0),
}  # fmt: skip
"""Fields of the spec of such kinds.

There are no reference pixels: `clean_flicker_noise` would amplify the rounding of `refpix`, since
it decides whether a pixel at a limit counts. With 64 rows, MIRI's frame would take a multiple of
half a period of the interference, and rounding would decide between two phases.
"""

LONG = WIDE, MULTISTRIPE, SUPERSTRIPE
"""Families with the detector's whole width or height."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of exposure.

    Attributes
    ----------
    instrument, exposure_type, pattern : str
        As in the header.
    family : str
        Family of subarrays.
    """

    instrument: str
    exposure_type: str
    pattern: str
    family: str

    @property
    def name(self) -> str:
        """The name that identifies the kind in the table."""
        return f"{self.instrument} | {self.exposure_type} | {self.pattern} | {self.family}"

    @property
    def is_costly(self) -> bool:
        """True if the kind has full frames."""
        return self.family in (FULL, INTERLEAVED)

    @property
    def seed(self) -> int:
        """A seed of its own."""
        return zlib.crc32(self.name.encode()) % 10_000

    @property
    def is_simulated(self) -> bool:
        """True if the simulator can make the kind."""
        if self.family == GUIDE_STAR:
            return True
        return self.pattern in (*READPATTS[self.instrument], *OF_SCHEMA_ONLY)

    @property
    def cards(self) -> dict[str, str | int]:
        """Header cards that the simulator does not write."""
        if self.is_simulated:
            return {"READPATT": self.pattern} if self.pattern in OF_SCHEMA_ONLY else {}
        return CLAIMS.get(self.pattern, {"READPATT": self.pattern})

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The parameters by step that are not the defaults."""
        further = FURTHER_STEPS[self.instrument] if self.family == FURTHER else {}
        return further.get(self.exposure_type, {})

    @property
    def spec(self) -> SimulationSpec:
        """An exposure of few groups."""
        if self.family == GUIDE_STAR:
            return self._guide_star()
        sizes = SMALL | LARGE[self.instrument] | {FURTHER: self._eventful()}
        size = sizes.get(self.family, {}) if self.is_simulated else self._stand_in()
        spec = SimulationSpec(
            USUAL_DETECTOR[self.instrument],
            readpatt=self.pattern if self.pattern in READPATTS[self.instrument] else None,
            exposure_type=self.exposure_type,
            nints=1 if self.is_costly else 2,
            ngroups=4 if self.is_costly or self.family in LONG else 6,
            sky=Sky(stars=500 if self.is_costly else 20),
        )
        if "shape" not in size:
            return replace(spec, **size)
        small = {"subarray": "GENERIC", "full_references": False, "noise": ROUGH}
        return replace(spec, **small | size)

    def _eventful(self) -> dict[str, Any]:
        """Return the fields of an exposure with snowballs, showers and the instrument's effects."""
        if self.instrument != "MIRI":
            return EVENTFUL
        noise = replace(EVENTFUL["noise"], snowballs=0.0, interference=10.0, rscd=0.02)
        return EVENTFUL | {"zero_frame": False, "noise": noise}

    def _stand_in(self) -> dict[str, Any]:
        """Return the fields of an exposure of another kind: its size, or its pattern."""
        interleaved = {"readpatt": IRS2[0], "ngroups": 1}
        return interleaved if self.family == INTERLEAVED else SMALL[EDGE]

    def _guide_star(self) -> SimulationSpec:
        specs = {spec.exposure_type: spec for spec in PRESETS["guide-stars"]}
        spec = specs[self.exposure_type]
        nints, noise = min(3, spec.nints), Noise(cosmic_rays=500)
        return replace(spec, readpatt=self.pattern, nints=nints, noise=noise)

    @property
    def read_noise(self) -> float:
        """Noise of one read, in DN."""
        return find_detector(USUAL_DETECTOR[self.instrument]).family.read_noise


@cache
def schema_values(name: str) -> tuple[str, ...]:
    """Return the values that jwst's core schema allows for ``type`` or ``readpatt``."""
    schema = jwst_models.JwstDataModel().schema
    for level in ("meta", "exposure", name):
        schema = _properties_of(schema)[level]
    return tuple(schema["enum"])


def _properties_of(schema: dict) -> dict:
    """Return the properties of a schema and of those that it combines."""
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        for name, value in _properties_of(part).items():
            both = [found[name], value] if name in found else [value]
            found[name] = value if len(both) == 1 else {"allOf": both}
    return found


def instrument_of_type(exposure_type: str) -> str:
    """Return the instrument of an exposure type; NIRCam for values of references only."""
    return PREFIXES.get(exposure_type[:3], "NIRCAM")


def instrument_of_pattern(pattern: str) -> str:
    """Return the instrument of a readout pattern; NIRCam for values of references only."""
    for instrument, patterns in READPATTS.items():
        if pattern in patterns:
            return instrument
    return "NIRSPEC" if pattern.startswith("NRS") else "NIRCAM"


def usual_type(instrument: str) -> str:
    """Return the usual exposure type of an instrument."""
    return find_detector(USUAL_DETECTOR[instrument]).family.exposure_type


def usual_pattern(instrument: str) -> str:
    """Return the usual readout pattern of an instrument."""
    return find_detector(USUAL_DETECTOR[instrument]).family.readpatt


GUIDE_PATTERNS = {
    "FGS_ID-IMAGE": "ID",
    "FGS_ID-STACK": "ID",
    "FGS_ACQ1": "ACQ1",
    "FGS_ACQ2": "ACQ2",
    "FGS_TRACK": "TRACK",
    "FGS_FINEGUIDE": "FINEGUIDE",
}
"""The readout pattern of each type of guide-star exposure."""


def all_kinds() -> list[Kind]:
    """Return all kinds.

    Types have the usual pattern, patterns and families the usual type, and a few types further
    steps.
    """
    kinds = (
        *_kinds_by_type(), *_kinds_by_pattern(), *_kinds_by_family(), *_kinds_with_further_steps(),
    )  # fmt: skip
    return list(dict.fromkeys(kinds))


def _kinds_by_type() -> Iterator[Kind]:
    for exposure_type in schema_values("type"):
        instrument = instrument_of_type(exposure_type)
        guide = GUIDE_PATTERNS.get(exposure_type)
        pattern = guide or usual_pattern(instrument)
        for family in (GUIDE_STAR,) if guide else SMALL:
            yield Kind(
                instrument=instrument, exposure_type=exposure_type, pattern=pattern, family=family
            )


def _kinds_by_pattern() -> Iterator[Kind]:
    for pattern in schema_values("readpatt"):
        if pattern in GUIDE_PATTERNS.values():
            continue  # with the types of guide stars
        instrument = instrument_of_pattern(pattern)
        for family in (INTERLEAVED,) if _is_interleaved(pattern) else SMALL:
            yield Kind(
                instrument=instrument, exposure_type=usual_type(instrument), pattern=pattern,
                family=family,
            )  # fmt: skip


def _is_interleaved(pattern: str) -> bool:
    """Return whether reference pixels are interleaved, as NRSN16R4 states their numbers."""
    return pattern in IRS2 or pattern.startswith("NRSN")


def _kinds_by_family() -> Iterator[Kind]:
    for instrument, families in LARGE.items():
        for family in families:
            yield Kind(
                instrument=instrument, exposure_type=usual_type(instrument),
                pattern=usual_pattern(instrument), family=family,
            )  # fmt: skip


def _kinds_with_further_steps() -> Iterator[Kind]:
    for instrument, types in FURTHER_STEPS.items():
        for exposure_type in types:
            yield Kind(
                instrument=instrument, exposure_type=exposure_type,
                pattern=usual_pattern(instrument), family=FURTHER,
            )  # fmt: skip
