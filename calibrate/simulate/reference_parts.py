"""The parts of reference files: their setting, headers, keys and flags."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.maps import DetectorMaps, Mask
from calbatch.calibrate.simulate.readout_plan import (
    BLOCK,
    FIRST,
    INTERLEAVED_LINE,
    PERIOD,
    ROWS,
    SECTION,
    Frame,
    ReadoutPlan,
    reference_rows,
    science_rows,
)
from calbatch.calibrate.simulate.spec import SimulationSpec
from calbatch.calibrate.simulate.streams import stream
from calbatch.calibrate.simulate.write import Card, Extension

USEAFTER = "2015-10-01T00:00:00"

BIAS = 9000.0  # DN, of the reference pixels
BAD_BLOCKS = 4  # blocks of reference pixels whose first pair is noisy
LISTED = ((1, 2, 1 << 9), (4, 1, 1 << 30))
"""Bad reference pixels listed in the IRS2 reference: amplifier, pair, and blocks as bits."""
SAME_FREQUENCY = 400  # cycles in a frame up to which reference pixels predict the drift

BAD_GAIN = "bad gain"
BAD_READ_NOISE = "bad read noise"
BAD_SATURATION = "bad saturation"
BAD_LINEARITY = "bad linearity"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The content of a reference file that has no name yet.

    Attributes
    ----------
    kind : str
        Its type in CRDS, such as ``readnoise``.
    instrument : str
    frame : Frame
        The part of the detector that it covers.
    keys : dict
        Header keywords and values of the exposures that it applies to; other keywords are free.
    cards : list of Card
    extensions : list of Extension
    useafter : str
        First date and time of the exposures that it applies to.
    tree : mapping, optional
        The content of an ASDF file, in place of cards and extensions.
    """

    kind: str
    instrument: str
    frame: Frame
    keys: dict[str, str]
    cards: list[Card]
    extensions: list[Extension]
    useafter: str = USEAFTER
    tree: Mapping[str, Any] | None = None

    @property
    def suffix(self) -> str:
        """The suffix of the file's name."""
        return ".fits" if self.tree is None else ".asdf"

    @property
    def ngroups(self) -> int:
        """Number of groups of a dark or reset; 0 for other types."""
        return next((int(value) for keyword, value, _ in self.cards if keyword == "NGROUPS"), 0)

    def without_data(self) -> "Reference":
        """Return a copy without arrays."""
        return replace(self, extensions=[], tree={})


@dataclass(frozen=True)
class Setting:
    """The properties from which the references of one kind of exposure are made.

    ``maps`` cover the frame of the references: the whole detector or the exposure's subarray.
    """

    spec: SimulationSpec
    readout: ReadoutPlan
    maps: DetectorMaps
    seed: int

    @property
    def instrument(self) -> str:
        """The instrument's name."""
        return self.readout.detector.instrument

    @property
    def is_general(self) -> bool:
        """True if the maps cover the whole detector, so that they contain every subarray."""
        return self.maps.frame == self.readout.full_frame

    def bad_pixels(self, name: str) -> Mask:
        """Return the pixels that are deliberately bad in a reference."""
        frame = self.maps.frame
        rng = stream(self.seed, "bad", self.spec.detector, name, frame.row, frame.col, *frame.shape)
        bad = rng.random(frame.shape, dtype=np.float32) < self.spec.noise.bad_references
        return bad & ~self.maps.reference

    def all_bad_pixels(self) -> Mask:
        """Return the pixels that are deliberately bad in any reference."""
        names = (BAD_GAIN, BAD_READ_NOISE, BAD_SATURATION, BAD_LINEARITY)
        return np.logical_or.reduce([self.bad_pixels(name) for name in names])


def encode_flags(flags: dict[str, Mask]) -> list[Extension]:
    """Return the DQ and DQ_DEF extensions of named masks; bits are numbered in their order."""
    shape = next(iter(flags.values())).shape
    dq = np.zeros(shape, dtype=np.uint32)
    layout = [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    table = np.zeros(len(flags), dtype=layout)
    for bit, (name, mask) in enumerate(flags.items()):
        dq |= mask.astype(np.uint32) << np.uint32(bit)
        text = name.lower().replace("_", " ").capitalize()
        table[bit] = (bit, 1 << bit, name.encode(), text.encode())
    return [Extension("DQ", dq), Extension("DQ_DEF", table)]


def wheels(spec: SimulationSpec) -> dict[str, str]:
    """Return the filter wheel keywords of an exposure."""
    values = {"FILTER": spec.filter, "PUPIL": spec.pupil, "GRATING": spec.grating}
    usual = spec.device.family.wheels
    return usual | {keyword: value for keyword, value in values.items() if value is not None}


def exposure_type(spec: SimulationSpec) -> str:
    """Return the EXP_TYPE of an exposure."""
    return spec.exposure_type or spec.device.family.exposure_type


def reference_cards(
    setting: Setting, kind: str, model: str, frame: Frame, useafter: str = USEAFTER
) -> list[Card]:
    """Return the header cards common to all references."""
    detector = setting.readout.detector
    is_full = frame == setting.readout.full_frame
    return [
        ("TELESCOP", "JWST", "Telescope used to acquire the data"),
        ("INSTRUME", detector.instrument, "Instrument used to acquire the data"),
        ("DETECTOR", detector.name, "Name of detector used to acquire the data"),
        ("REFTYPE", kind.upper(), "Reference file type"),
        ("DATAMODL", model, "Type of data model"),
        ("PEDIGREE", "SIMULATION", "The pedigree of the reference file"),
        ("DESCRIP", f"Simulated {kind} reference", "Description of the reference file"),
        ("AUTHOR", "calbatch simulate", "Author of the reference file"),
        ("USEAFTER", useafter, "Use after date of the reference file"),
        ("SUBARRAY", "FULL" if is_full else setting.readout.subarray, "Subarray used"),
        ("SUBSTRT1", frame.col + 1, "Starting pixel in axis 1 direction"),
        ("SUBSTRT2", frame.row + 1, "Starting pixel in axis 2 direction"),
        ("SUBSIZE1", frame.ncols, "Number of pixels in axis 1 direction"),
        ("SUBSIZE2", frame.nrows, "Number of pixels in axis 2 direction"),
        ("FASTAXIS", detector.fastaxis, "Fast readout axis direction"),
        ("SLOWAXIS", detector.slowaxis, "Slow readout axis direction"),
    ]


def _keys(setting: Setting, **more: str) -> dict[str, str]:
    """Return the keys of a reference over the frame of the maps."""
    subarray = "GENERIC" if setting.is_general else setting.readout.subarray
    return {"DETECTOR": setting.spec.detector, "SUBARRAY": subarray} | more


def make_reference(
    setting: Setting, kind: str, model: str, extensions: list[Extension], **keys: str
) -> Reference:
    """Return a reference over the frame of the maps."""
    frame = setting.maps.frame
    return Reference(
        kind=kind,
        instrument=setting.instrument,
        frame=frame,
        keys=_keys(setting, **keys),
        cards=reference_cards(setting, kind, model, frame),
        extensions=extensions,
    )


# -- IRS2: arrays with interleaved reference pixels ----------------------------------------------


def draw_bad_reference_rows(setting: Setting) -> NDArray[np.intp]:
    """Return the file rows of bad interleaved reference pixels, which the mask flags."""
    rng = stream(setting.seed, "bad references", setting.spec.detector)
    sections = rng.integers(0, 5, BAD_BLOCKS)
    blocks = rng.choice(SECTION // PERIOD, BAD_BLOCKS, replace=False)
    first = sections * SECTION + blocks * PERIOD + FIRST
    return np.sort(np.concatenate([first, first + 1]))


def draw_reference_bias(setting: Setting) -> NDArray[np.float32]:
    """Return the bias of all rows; that of science rows is zero, (3200, columns)."""
    frame = setting.readout.full_frame
    rng = stream(setting.seed, "reference bias", setting.spec.detector)
    bias = rng.normal(BIAS, 40.0, (ROWS, frame.ncols)).astype(np.float32)
    bias[science_rows(setting.readout.detector.fastaxis)] = 0
    return bias


def interleave_map(setting: Setting, science: NDArray[Any], other: Any) -> NDArray[Any]:
    """Return a map of the frame with interleaved rows that hold other values."""
    result = np.empty((ROWS, science.shape[1]), science.dtype)
    result[:] = other
    result[science_rows(setting.readout.detector.fastaxis)] = science
    return result


def interleave_flags(setting: Setting, flags: dict[str, Mask]) -> dict[str, Mask]:
    """Return the flags of a mask with interleaved rows; BAD_REF_PIXEL is added."""
    rows = reference_rows(setting.readout.detector.fastaxis)[:, np.newaxis]
    result = {name: interleave_map(setting, mask, False) for name, mask in flags.items()}
    result["REFERENCE_PIXEL"] = result["REFERENCE_PIXEL"] | rows
    bad = np.zeros_like(result["REFERENCE_PIXEL"])
    bad[draw_bad_reference_rows(setting)] = True
    return {**result, "BAD_REF_PIXEL": bad}


def make_weight_extensions() -> Iterator[Extension]:
    """Yield the extensions of the weights' reference.

    Up to a frequency, half of the drift is predicted from the reference output, which has a sample
    at any time, and half from an amplifier's reference pixels, which provide eight of 22 samples.
    """
    samples = INTERLEAVED_LINE * 2048
    frequency = np.minimum(np.arange(samples), samples - np.arange(samples))
    passed = 0.5 / (1 + (frequency / SAME_FREQUENCY) ** 2)
    columns = {"alpha": passed, "beta": passed * INTERLEAVED_LINE / (2 * BLOCK * SECTION / PERIOD)}
    table = np.zeros(2 * samples, [(f"{name}_{k}", "f4") for name in columns for k in range(4)])
    for name in table.dtype.names or ():
        table[name][::2] = columns[name[:-2]]
    yield Extension("IRS2", table)
    layout = [("OUTPUT", "u2"), ("ODD_EVEN", "u2"), ("MASK", "u4")]
    yield Extension("DQ", np.array(list(LISTED), layout))
