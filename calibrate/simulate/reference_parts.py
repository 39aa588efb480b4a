"""The parts of reference files: their setting, headers, keys and flags."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calbatch.calibrate.simulate.maps import DetectorMaps, Mask
from calbatch.calibrate.simulate.readout_plan import Frame, ReadoutPlan
from calbatch.calibrate.simulate.spec import SimulationSpec
from calbatch.calibrate.simulate.streams import stream
from calbatch.calibrate.simulate.write import Card, Extension

USEAFTER = "2015-10-01T00:00:00"

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
        return replace(self, extensions=[])


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
