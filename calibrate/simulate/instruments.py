"""Detectors, subarrays and readout patterns of the five instruments, as needed for ramps.

Sources: FASTAXIS and SLOWAXIS, frame sizes and frame times as in the instruments' raw data;
subarray sizes from the JWST user documentation (corners are simplified: one per name, not one per
detector); noise figures are typical of each detector family, not measurements.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Family:
    """The common properties of the detectors of one instrument, or of one of its channels.

    Attributes
    ----------
    instrument : str
        Name of the instrument.
    gain : float
        Electrons per DN.
    read_noise : float
        Noise of a single read, DN.
    dark_rate : float
        Median dark current, electrons per second.
    pixel_area : float
        Area of a pixel's surface, cm^2, which determines the number of cosmic rays.
    exposure_type, readpatt : str
        Default exposure type and readout pattern.
    wheels : dict
        Default values of the header keywords of the filter wheels.
    """

    instrument: str
    gain: float
    read_noise: float
    dark_rate: float
    pixel_area: float
    exposure_type: str
    readpatt: str
    wheels: dict[str, str]


@dataclass(frozen=True)
class Detector:
    """One detector: its name, place and orientation.

    ``fastaxis`` and ``slowaxis`` are the axes of the image (1 columns, 2 rows) along which the
    detector is read fast and slow; their signs are the directions.
    """

    name: str
    fastaxis: int
    slowaxis: int
    sca: int
    family: Family
    shape: tuple[int, int] = (2048, 2048)

    @property
    def instrument(self) -> str:
        """Name of the instrument."""
        return self.family.instrument


HAWAII_PIXEL = 3.24e-6  # 18 micron
MIRI_PIXEL = 6.25e-6  # 25 micron

NIRCAM_SHORT = Family(
    instrument="NIRCAM",
    gain=2.05,
    read_noise=6.5,
    dark_rate=0.002,
    pixel_area=HAWAII_PIXEL,
    exposure_type="NRC_IMAGE",
    readpatt="RAPID",
    wheels={"CHANNEL": "SHORT", "FILTER": "F200W", "PUPIL": "CLEAR"},
)
NIRCAM_LONG = replace(
    NIRCAM_SHORT,
    gain=1.82,
    read_noise=5.5,
    dark_rate=0.034,
    wheels={"CHANNEL": "LONG", "FILTER": "F356W", "PUPIL": "CLEAR"},
)
NIRISS = Family(
    instrument="NIRISS",
    gain=1.61,
    read_noise=6.0,
    dark_rate=0.026,
    pixel_area=HAWAII_PIXEL,
    exposure_type="NIS_IMAGE",
    readpatt="NISRAPID",
    wheels={"FILTER": "CLEAR", "PUPIL": "F150W"},
)
NIRSPEC = Family(
    instrument="NIRSPEC",
    gain=1.0,
    read_noise=9.0,
    dark_rate=0.008,
    pixel_area=HAWAII_PIXEL,
    exposure_type="NRS_FIXEDSLIT",
    readpatt="NRSRAPID",
    wheels={"FILTER": "F170LP", "GRATING": "G235H"},
)
FGS = Family(
    instrument="FGS",
    gain=1.75,
    read_noise=7.5,
    dark_rate=0.018,
    pixel_area=HAWAII_PIXEL,
    exposure_type="FGS_IMAGE",
    readpatt="FGSRAPID",
    wheels={},
)
MIRI = Family(
    instrument="MIRI",
    gain=4.1,
    read_noise=4.0,
    dark_rate=0.2,
    pixel_area=MIRI_PIXEL,
    exposure_type="MIR_IMAGE",
    readpatt="FASTR1",
    wheels={"FILTER": "F770W"},
)

DETECTORS = {
    detector.name: detector
    for detector in (
        Detector("NRCA1", -1, 2, 481, NIRCAM_SHORT),
        Detector("NRCA2", 1, -2, 482, NIRCAM_SHORT),
        Detector("NRCA3", -1, 2, 483, NIRCAM_SHORT),
        Detector("NRCA4", 1, -2, 484, NIRCAM_SHORT),
        Detector("NRCALONG", -1, 2, 485, NIRCAM_LONG),
        Detector("NRCB1", 1, -2, 486, NIRCAM_SHORT),
        Detector("NRCB2", -1, 2, 487, NIRCAM_SHORT),
        Detector("NRCB3", 1, -2, 488, NIRCAM_SHORT),
        Detector("NRCB4", -1, 2, 489, NIRCAM_SHORT),
        Detector("NRCBLONG", 1, -2, 490, NIRCAM_LONG),
        Detector("NIS", -2, -1, 496, NIRISS),
        Detector("NRS1", 2, 1, 491, NIRSPEC),
        Detector("NRS2", -2, -1, 492, NIRSPEC),
        Detector("GUIDER1", -2, -1, 497, FGS),
        Detector("GUIDER2", 2, -1, 498, FGS),
        Detector("MIRIMAGE", 1, 2, 493, MIRI, shape=(1024, 1032)),
    )
}

# Readout patterns: frames averaged into a group, frames dropped between groups. The user
# documentation does not describe those marked as assumed, which jwst's schema lists.
READPATTS: dict[str, dict[str, tuple[int, int]]] = {
    "NIRCAM": {
        "RAPID": (1, 0),
        "BRIGHT1": (1, 1),
        "BRIGHT2": (2, 0),
        "SHALLOW2": (2, 3),
        "SHALLOW4": (4, 1),
        "MEDIUM2": (2, 8),
        "MEDIUM8": (8, 2),
        "DEEP2": (2, 18),
        "DEEP8": (8, 12),
        # assumed
        "MEDIUMDEEP2": (2, 13),
        "MEDIUMDEEP8": (8, 7),
        "DHS3": (1, 2),
        "DHS4": (1, 3),
        "DHS5": (1, 4),
        "DHS6": (1, 5),
        "DHS7": (1, 6),
    },
    "NIRISS": {"NISRAPID": (1, 0), "NIS": (4, 0)},
    "NIRSPEC": {
        "NRSRAPID": (1, 0),
        "NRS": (4, 0),
        "NRSIRS2RAPID": (1, 0),
        "NRSIRS2": (5, 0),
        # assumed
        "NRSRAPIDD1": (1, 1),
        "NRSRAPIDD2": (1, 2),
        "NRSRAPIDD6": (1, 6),
        "NRSSLOW": (1, 0),
        "NRSN16R4": (1, 0),
    },
    "FGS": {
        "FGSRAPID": (1, 0),
        "FGS": (4, 0),
        # assumed
        "FGS60": (4, 4),
        "FGS840": (8, 4),
        "FGS8370": (8, 8),
        "ACQ1": (1, 0),
        "ACQ2": (1, 0),
        "FINEGUIDE": (1, 0),
        "ID": (1, 0),
        "TRACK": (1, 0),
    },
    "MIRI": {
        "FASTR1": (1, 0),
        "FAST": (1, 0),
        "FASTGRPAVG": (4, 0),
        "FASTGRPAVG8": (8, 0),
        "FASTGRPAVG16": (16, 0),
        "FASTGRPAVG32": (32, 0),
        "FASTGRPAVG64": (64, 0),
        "SLOWR1": (1, 0),
        "SLOW": (1, 0),
        # assumed
        "FASTR100": (1, 0),
    },
}

IRS2 = ("NRSIRS2RAPID", "NRSIRS2", "NRSN16R4")
"""NIRSpec's patterns in which 4 reference pixels follow 16 pixels of a full frame."""

# Subarrays: rows, columns, and the first row and column counted from 1.
SUBARRAYS: dict[str, dict[str, tuple[int, int, int, int]]] = {
    "NIRCAM": {
        "SUB640": (640, 640, 705, 705),
        "SUB320": (320, 320, 865, 865),
        "SUB160": (160, 160, 945, 945),
        "SUB400P": (400, 400, 1649, 1),
        "SUB160P": (160, 160, 1889, 1),
        "SUB64P": (64, 64, 1901, 85),
        "SUBGRISM256": (256, 2048, 1, 1),
        "SUBGRISM128": (128, 2048, 1, 1),
        "SUBGRISM64": (64, 2048, 1, 1),
    },
    "NIRISS": {
        "SUB256": (256, 256, 1793, 1793),
        "SUB128": (128, 128, 1921, 1921),
        "SUB80": (80, 80, 961, 1045),
        "SUB64": (64, 64, 1985, 1985),
        "SUBSTRIP256": (256, 2048, 1793, 1),
        "SUBSTRIP96": (96, 2048, 1803, 1),
    },
    "NIRSPEC": {
        "SUB2048": (32, 2048, 957, 1),
        "SUB512": (32, 512, 957, 1025),
        "SUB512S": (16, 512, 965, 1025),
        "SUB32": (32, 32, 957, 1025),
        "SUBS200A1": (64, 2048, 1041, 1),
        "ALLSLITS": (256, 2048, 897, 1),
    },
    "FGS": {
        "SUB128LL": (128, 128, 1, 1),
        "SUB128CNTR": (128, 128, 961, 961),
        "SUB32LL": (32, 32, 1, 1),
        "SUB32CNTR": (32, 32, 1009, 1009),
    },
    "MIRI": {
        "BRIGHTSKY": (512, 512, 51, 457),
        "SUB256": (256, 256, 51, 413),
        "SUB128": (128, 136, 889, 1),
        "SUB64": (64, 72, 779, 1),
    },
}


def find_detector(name: str) -> Detector:
    """Return the detector of that name.

    Raises
    ------
    ValueError
        If no detector has that name; the message lists those that exist.
    """
    try:
        return DETECTORS[name]
    except KeyError:
        raise ValueError(f"no detector {name!r}: choose one of {', '.join(DETECTORS)}") from None
