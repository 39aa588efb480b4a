"""What references are made of: the setting they belong to, their headers, keys and flags."""

from dataclasses import dataclass, replace

import numpy as np

from calbatch.calibrate.simulate.readout_plan import Frame, ReadoutPlan
from calbatch.calibrate.simulate.maps import DetectorMaps, Mask
from calbatch.calibrate.simulate.spec import SimulationSpec
from calbatch.calibrate.simulate.streams import stream
from calbatch.calibrate.simulate.write import Card, Extension

USEAFTER = "2015-10-01T00:00:00"

BAD_GAIN = "bad gain"
BAD_READ_NOISE = "bad read noise"
BAD_SATURATION = "bad saturation"
BAD_LINEARITY = "bad linearity"


@dataclass(frozen=True)
class Reference:
    """One reference file before it has a name.

    Attributes
    ----------
    kind : str
        CRDS's reference type, such as ``readnoise``.
    instrument : str
    frame : Frame
        The part of the detector that it covers.
    keys : dict
        What it is for: header keyword to value; a keyword that is absent may be anything.
    cards : list of Card
    extensions : list of Extension
    useafter : str
        The first date and time of exposures that it is for.
    """

    kind: str
    instrument: str
    frame: Frame
    keys: dict[str, str]
    cards: list[Card]
    extensions: list[Extension]
    useafter: str = USEAFTER

    @property
    def ngroups(self) -> int:
        """Groups of a dark or reset; 0 for other types."""
        return next((int(value) for keyword, value, _ in self.cards if keyword == "NGROUPS"), 0)

    def without_data(self) -> "Reference":
        """Return the same without its arrays."""
        return replace(self, extensions=[])


@dataclass(frozen=True)
class Setting:
    """What the references of one kind of exposure are made from.

    ``maps`` cover the references' frame: the whole detector or the exposure's subarray.
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
    def general(self) -> bool:
        """Whether the maps cover the whole detector, so that any subarray can be cut from them."""
        return self.maps.frame == self.readout.full_frame

    def bad(self, name: str) -> Mask:
        """Return the pixels whose reference of that name is spoilt on purpose."""
        frame = self.maps.frame
        rng = stream(self.seed, "bad", self.spec.detector, name, frame.row, frame.col, *frame.shape)
        spoilt = rng.random(frame.shape, dtype=np.float32) < self.spec.noise.bad_references
        return spoilt & ~self.maps.reference

    def spoilt(self) -> Mask:
        """Return the pixels that any reference is spoilt for."""
        names = (BAD_GAIN, BAD_READ_NOISE, BAD_SATURATION, BAD_LINEARITY)
        return np.logical_or.reduce([self.bad(name) for name in names])


def encode_flags(flags: dict[str, Mask]) -> list[Extension]:
    """Return the DQ and DQ_DEF extensions of named masks; bits are numbered in the order given."""
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
    chosen = {"FILTER": spec.filter, "PUPIL": spec.pupil, "GRATING": spec.grating}
    usual = spec.device.family.wheels
    return usual | {keyword: value for keyword, value in chosen.items() if value is not None}


def exposure_type(spec: SimulationSpec) -> str:
    """Return the EXP_TYPE of an exposure."""
    return spec.exposure_type or spec.device.family.exposure_type


def reference_cards(
    setting: Setting, kind: str, model: str, frame: Frame, useafter: str = USEAFTER
) -> list[Card]:
    """Return the header cards that every reference has."""
    detector = setting.readout.detector
    full = frame == setting.readout.full_frame
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
        ("SUBARRAY", "FULL" if full else setting.readout.subarray, "Subarray used"),
        ("SUBSTRT1", frame.col + 1, "Starting pixel in axis 1 direction"),
        ("SUBSTRT2", frame.row + 1, "Starting pixel in axis 2 direction"),
        ("SUBSIZE1", frame.ncols, "Number of pixels in axis 1 direction"),
        ("SUBSIZE2", frame.nrows, "Number of pixels in axis 2 direction"),
        ("FASTAXIS", detector.fastaxis, "Fast readout axis direction"),
        ("SLOWAXIS", detector.slowaxis, "Slow readout axis direction"),
    ]


def _keys(setting: Setting, **more: str) -> dict[str, str]:
    """Return what a reference over the maps' frame is for."""
    subarray = "GENERIC" if setting.general else setting.readout.subarray
    return {"DETECTOR": setting.spec.detector, "SUBARRAY": subarray} | more


def make_reference(
    setting: Setting, kind: str, model: str, extensions: list[Extension], **keys: str
) -> Reference:
    """Return a reference over the maps' frame."""
    frame = setting.maps.frame
    cards = reference_cards(setting, kind, model, frame)
    return Reference(kind, setting.instrument, frame, _keys(setting, **keys), cards, extensions)
