"""The properties of a detector by pixel: the truth that its reference files describe."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.instruments import Detector
from calbatch.calibrate.simulate.readout_plan import Frame, fast_index, reference_pixels
from calbatch.calibrate.simulate.spec import Noise
from calbatch.calibrate.simulate.streams import stream

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

BIAS = 9000.0  # DN, near-infrared detectors
PEDESTAL = 2500.0  # DN, MIRI: it has no superbias correction
RESET_ANOMALY = 25.0  # DN in the first group, MIRI
NONLINEAR_SHARES = (0.5, 0.35, 0.15)  # of the loss at full well, from the 2nd, 3rd and 4th power


@dataclass(frozen=True)
class DetectorMaps:
    """A detector's properties over one frame; the last axes of every array are (rows, cols).

    Attributes
    ----------
    bias, pedestal, reset : ndarray
        DN: bias under every read, charge left by the reset (MIRI), reset anomaly in the first group
        (MIRI).
    gain, read_noise, dark_rate : ndarray
        Electrons per DN; DN of one read; electrons per second.
    full_well : ndarray
        Full well: DN above the bias at which a pixel stops counting.
    coefficients : ndarray, shape (5, rows, cols)
        Polynomial from counts above the bias to linear DN, lowest power first.
    flat : ndarray
        Relative response to light.
    reference, dead, hot : ndarray of bool
        Reference pixels; pixels without response; pixels with a high dark current.
    """

    frame: Frame
    bias: Image
    pedestal: Image
    reset: Image
    gain: Image
    read_noise: Image
    dark_rate: Image
    full_well: Image
    coefficients: Image
    flat: Image
    reference: Mask
    dead: Mask
    hot: Mask

    def cut(self, frame: Frame) -> "DetectorMaps":
        """Return the maps of a part of the frame (views)."""
        rows, cols = frame.within(self.frame)
        cut = {
            f.name: getattr(self, f.name)[..., rows, cols]
            for f in fields(self)
            if f.name != "frame"
        }
        return DetectorMaps(frame=frame, **cut)

    def band(self, band: slice) -> "DetectorMaps":
        """Return the maps of some rows, counted from the frame's first (views)."""
        frame = self.frame
        return self.cut(
            Frame(frame.row + band.start, band.stop - band.start, frame.col, frame.ncols)
        )


def make_maps(detector: Detector, frame: Frame, noise: Noise, seed: int) -> DetectorMaps:
    """Draw a detector's properties over a frame.

    The same seed, detector and frame give the same maps. Different frames of one detector are drawn
    independently; where they must agree, cut them from the maps of a larger frame.
    """
    draw = _Drawer(detector, frame, seed)
    reference = reference_pixels(detector, frame)
    family = detector.family
    light = ~reference
    hot = (draw.uniform("hot") < noise.hot) & light
    dead = (draw.uniform("dead") < noise.dead) & light & ~hot
    full_well = draw.scatter("well", noise.full_well, 0.03)
    pedestal = np.where(light, draw.scatter("pedestal", PEDESTAL, 0.02), np.float32(PEDESTAL))
    is_miri = detector.instrument == "MIRI"
    return DetectorMaps(
        frame=frame,
        bias=_bias(draw) * np.float32(not is_miri),
        pedestal=pedestal * np.float32(is_miri),
        reset=draw.scatter("reset", RESET_ANOMALY, 0.2) * light * np.float32(is_miri),
        gain=draw.scatter("gain", noise.gain or family.gain, 0.01),
        read_noise=_read_noise(draw, noise, reference),
        dark_rate=_dark_rate(draw, noise, hot, light),
        full_well=full_well,
        coefficients=_coefficients(draw, noise.nonlinearity, full_well, light),
        flat=np.where(reference, np.float32(1), _flat(draw)) * ~dead,
        reference=reference,
        dead=dead,
        hot=hot,
    )


class _Drawer:
    """Random images over one frame of a detector, each from its own stream."""

    def __init__(self, detector: Detector, frame: Frame, seed: int) -> None:
        self.detector = detector
        self.frame = frame
        self.purpose = ("maps", detector.name, frame.row, frame.col, *frame.shape)
        self.seed = seed

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator of one property."""
        return stream(self.seed, *self.purpose, name)

    def uniform(self, name: str) -> Image:
        """Return an image of uniform numbers from 0 to 1."""
        return self.rng(name).random(self.frame.shape, dtype=np.float32)

    def normal(self, name: str) -> Image:
        """Return an image of standard normal numbers."""
        return self.rng(name).standard_normal(self.frame.shape, dtype=np.float32)

    def scatter(self, name: str, value: float, relative: float) -> Image:
        """Return an image of a positive value with normal scatter, cut at four sigma."""
        normal = np.clip(self.normal(name), -4, 4)
        return (value * (1 + relative * normal)).astype(np.float32)


def _bias(draw: _Drawer) -> Image:
    """Return the bias: amplifier offsets, odd and even columns, a slope and pixel scatter."""
    detector, frame = draw.detector, draw.frame
    rng = stream(draw.seed, "amplifiers", detector.name)
    steps = rng.normal(0, 250, 4)[:, np.newaxis] + rng.normal(0, 40, (4, 2))
    index = fast_index(detector, frame)
    profile = BIAS + steps[np.minimum(index // 512, 3), index % 2]
    along = (np.newaxis, slice(None)) if abs(detector.fastaxis) == 1 else (slice(None), np.newaxis)
    slope = 0.05 * frame.rows[:, np.newaxis]
    return (profile[along] + slope + 60 * draw.normal("bias")).astype(np.float32)


def _read_noise(draw: _Drawer, noise: Noise, reference: Mask) -> Image:
    """Return the read noise, which is slightly lower in reference pixels."""
    value = draw.detector.family.read_noise if noise.read_noise is None else noise.read_noise
    return draw.scatter("read noise", value, 0.06) * np.where(
        reference, np.float32(0.8), np.float32(1)
    )


def _dark_rate(draw: _Drawer, noise: Noise, hot: Mask, light: Mask) -> Image:
    """Return the dark current: log-normal scatter, and a long tail of hot pixels."""
    median = draw.detector.family.dark_rate if noise.dark_rate is None else noise.dark_rate
    rate = median * np.exp(0.3 * draw.normal("dark"))
    tail = draw.rng("hot tail").exponential(60.0, int(hot.sum()))
    rate[hot] = 5.0 + tail.astype(np.float32)
    return (rate * light).astype(np.float32)


def _coefficients(draw: _Drawer, loss: float, full_well: Image, light: Mask) -> Image:
    """Return the linearity polynomial, with a fraction ``loss`` of the signal lost at full well."""
    strength = draw.scatter("linearity", loss / (1 - loss), 0.1) * light
    planes = np.zeros((5, *strength.shape), dtype=np.float32)
    planes[1] = 1
    for power, share in enumerate(NONLINEAR_SHARES, start=2):
        planes[power] = share * strength / full_well ** (power - 1)
    return planes


def _flat(draw: _Drawer) -> Image:
    """Return the relative response: a slow gradient and pixel scatter."""
    rows = np.linspace(-0.02, 0.02, draw.frame.nrows, dtype=np.float32)[:, np.newaxis]
    return draw.scatter("flat", 1.0, 0.01) + rows
