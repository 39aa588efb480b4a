"""Specifications of simulated exposures: setting, sky, noise, and the named presets."""

from dataclasses import dataclass, field

from calbatch.calibrate.simulate.instruments import (
    READPATTS,
    SUBARRAYS,
    Detector,
    find_detector,
)
from calbatch.calibrate.simulate.stripe_pattern import DETECTOR_ROWS, StripePattern


@dataclass(frozen=True)
class Sky:
    """The light that reaches the detector.

    Attributes
    ----------
    background : float
        Electrons per second and pixel.
    stars : int
        Number of stars in the frame.
    faintest, brightest : float
        Flux of a star in electrons per second; fluxes between them are log-uniform.
    fwhm : float
        Width of the Moffat profile of a star in pixels.
    """

    background: float = 0.6
    stars: int = 60
    faintest: float = 20.0
    brightest: float = 2.0e5
    fwhm: float = 2.2


@dataclass(frozen=True)
class Noise:
    """The kinds of noise and other disturbances; None stands for the detector's own value.

    Attributes
    ----------
    poisson, read, correlated : bool
        Counting noise of light and dark current; white noise of each read; 1/f noise, row drift and
        amplifier drift, which reference pixels share.
    ktc : float
        Reset noise of each pixel and integration in DN.
    cosmic_rays : float
        Rays per second and cm^2.
    cosmic_ray_spread : float
        Fraction of a ray's charge that is added to each of its four neighbours.
    charge_migration : float
        Fraction of the charge that arrives in pixels above ``charge_migration_level`` and moves to
        their four neighbours.
    charge_migration_level : float
        DN above the bias.
    snowballs, showers : float
        Snowballs, with saturated cores, and faint showers per second and cm^2.
    hot, dead : float
        Fraction of the pixels.
    nonlinearity : float
        Fraction of the signal lost at full well.
    full_well : float
        DN above the bias at which a pixel stops counting.
    bad_references : float
        Fraction of the pixels that are NaN or flagged in the gain, read noise, saturation and
        linearity references, drawn for each reference.
    interference : float
        Amplitude in DN of MIRI's electromagnetic interference.
    rscd : float
        Fraction of the last signal by which the first groups of MIRI's later integrations are too
        low; it decays with the groups that the `rscd` step excludes.
    gain, read_noise, dark_rate : float or None
        Electrons per DN; DN of one read; electrons per second.
    """

    poisson: bool = True
    read: bool = True
    correlated: bool = True
    ktc: float = 18.0
    cosmic_rays: float = 5.0
    cosmic_ray_spread: float = 0.01
    charge_migration: float = 0.0
    charge_migration_level: float = 25000.0
    snowballs: float = 0.0
    showers: float = 0.0
    hot: float = 1.0e-3
    dead: float = 5.0e-4
    nonlinearity: float = 0.06
    full_well: float = 48000.0
    bad_references: float = 0.0
    interference: float = 0.0
    rscd: float = 0.0
    gain: float | None = None
    read_noise: float | None = None
    dark_rate: float | None = None


@dataclass(frozen=True)
class SimulationSpec:
    """One kind of exposure.

    Attributes
    ----------
    detector : str
        Name in the header: NRCA1 … NRCBLONG, NIS, NRS1, NRS2, GUIDER1, GUIDER2, MIRIMAGE.
    subarray : str
        ``FULL``, a named subarray of the instrument, or together with ``shape`` any name that
        headers allow.
    shape : (int, int), optional
        Rows and columns, if the name does not determine them.
    corner : (int, int), optional
        First row and column in the full frame, counted from 1 (SUBSTRT2, SUBSTRT1).
    nints, ngroups : int
        Number of integrations, and of groups in each.
    readpatt : str, optional
        Readout pattern, which determines ``nframes`` and ``groupgap`` unless they are given.
    nframes, groupgap : int, optional
        Frames averaged into a group; frames dropped between groups.
    noutputs : int, optional
        Number of amplifiers: 4 or 1.
    exposure_type, filter, pupil, grating : str, optional
        Header values that differ from the detector's defaults.
    full_references : bool
        True if references cover the full frame, so that pipelines cut them; otherwise they cover
        the subarray. Darks always cover the subarray, because they depend on its frame time.
    dark_frames : int, optional
        Number of frames of the dark reference; by default that of the exposure.
    dark_grouped : bool
        True if the dark is averaged to the groups of the exposure.
    zero_frame : bool
        True if the first frame of each integration is also stored separately.
    inverse_linearity : bool, optional
        True if the linearity reference has INV_COEFFS; by default if groups average several frames.
    stripes : StripePattern, optional
        The rows that multistripe or superstripe readout reads. ``shape`` then has all rows of the
        detector along its slow axis, from which the stripes are cut, and ``nints`` counts
        integrations of all superstripes.
    """

    detector: str = "NRCA1"
    subarray: str = "FULL"
    shape: tuple[int, int] | None = None
    corner: tuple[int, int] | None = None
    nints: int = 1
    ngroups: int = 10
    readpatt: str | None = None
    nframes: int | None = None
    groupgap: int | None = None
    noutputs: int | None = None
    exposure_type: str | None = None
    filter: str | None = None
    pupil: str | None = None
    grating: str | None = None
    full_references: bool = True
    dark_frames: int | None = None
    dark_grouped: bool = False
    zero_frame: bool = False
    inverse_linearity: bool | None = None
    stripes: StripePattern | None = None
    sky: Sky = field(default_factory=Sky)
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        detector = find_detector(self.detector)
        if self.nints < 1 or self.ngroups < 1:
            raise ValueError(f"nints={self.nints}, ngroups={self.ngroups}: both must be 1 or more")
        if self.readpatt is not None and self.readpatt not in READPATTS[detector.instrument]:
            names = ", ".join(READPATTS[detector.instrument])
            raise ValueError(f"no readout pattern {self.readpatt!r}: choose one of {names}")
        has_known_size = self.subarray == "FULL" or self.subarray in SUBARRAYS[detector.instrument]
        if not has_known_size and self.shape is None:
            names = ", ".join(SUBARRAYS[detector.instrument])
            raise ValueError(
                f"subarray {self.subarray!r} has no known size: give shape, or one of FULL, {names}"
            )
        slow = 1 if abs(detector.slowaxis) == 1 else 0
        if self.stripes is not None and (self.shape or (0, 0))[slow] != DETECTOR_ROWS:
            axis = ("rows", "columns")[slow]
            raise ValueError(f"stripes of {self.detector} need a shape of {DETECTOR_ROWS} {axis}")

    @property
    def device(self) -> Detector:
        """The detector."""
        return find_detector(self.detector)


def _guide_star(
    kind: str, subarray: str, shape: tuple[int, int], *, nints: int, ngroups: int
) -> SimulationSpec:
    """Return a guide-star exposure: a window with a star near the centre of the detector."""
    return SimulationSpec(
        "GUIDER1",
        subarray,
        shape=shape,
        corner=(1001, 1 if shape[1] == 2048 else 1001),
        nints=nints,
        ngroups=ngroups,
        exposure_type=kind,
        full_references=False,
        sky=Sky(stars=1, faintest=2.0e4),
    )


TRUTH_NOISE = Noise(correlated=False, cosmic_rays=200.0)  # enough rays for statistics
# A corner of the detector read by four amplifiers: its reference pixels remove the drift.
DEMO = SimulationSpec(
    subarray="GENERIC",
    shape=(512, 512),
    corner=(1, 1),
    noutputs=4,
    ngroups=8,
    readpatt="BRIGHT2",
    full_references=False,
    sky=Sky(stars=120),
)
PRESETS: dict[str, tuple[SimulationSpec, ...]] = {
    "demo": (DEMO,),
    "bench-nircam-full": (SimulationSpec(sky=Sky(stars=1200)),),
    "sub512-many-ints": (
        SimulationSpec(
            subarray="GENERIC", shape=(512, 512), corner=(769, 769), nints=40, full_references=False
        ),
    ),
    "truth": (
        SimulationSpec(
            subarray="GENERIC",
            shape=(256, 256),
            corner=(1, 1),
            full_references=False,
            sky=Sky(stars=30),
            noise=TRUTH_NOISE,
        ),
    ),
    "mixed": (
        SimulationSpec(subarray="SUB160", ngroups=5, full_references=False),
        SimulationSpec("NIS", "SUB64", nints=2, ngroups=5, full_references=False),
        SimulationSpec("NRS1", "SUB512", nints=2, ngroups=6, full_references=False),
        SimulationSpec("GUIDER2", "SUB128LL", ngroups=4, full_references=False),
        SimulationSpec("MIRIMAGE", "SUB64", nints=2, ngroups=8, full_references=False),
    ),
    "guide-stars": (
        _guide_star("FGS_ID-IMAGE", "2048X64", (64, 2048), nints=2, ngroups=2),
        _guide_star("FGS_ID-STACK", "GENERIC", (96, 32), nints=2, ngroups=2),
        _guide_star("FGS_ACQ1", "128X128", (128, 128), nints=6, ngroups=2),
        _guide_star("FGS_ACQ2", "32X32", (32, 32), nints=5, ngroups=2),
        _guide_star("FGS_TRACK", "32X32", (32, 32), nints=20, ngroups=2),
        _guide_star("FGS_FINEGUIDE", "8X8", (8, 8), nints=20, ngroups=8),
    ),
}


def as_specs(spec: object) -> tuple[SimulationSpec, ...]:
    """Return the specs for the name of a preset, one spec, or several.

    Raises
    ------
    ValueError
        If there is no preset of that name, or no spec.
    TypeError
        If the argument has another type.
    """
    if isinstance(spec, str):
        if spec not in PRESETS:
            raise ValueError(f"no preset {spec!r}: choose one of {', '.join(PRESETS)}")
        return PRESETS[spec]
    if isinstance(spec, SimulationSpec):
        return (spec,)
    if isinstance(spec, (list, tuple)) and all(isinstance(item, SimulationSpec) for item in spec):
        if not spec:
            raise ValueError("no specs given: nothing to simulate")
        return tuple(spec)
    raise TypeError(f"expected the name of a preset, a SimulationSpec or several, not {spec!r}")
