"""Detectors, subarrays and readout patterns of the five instruments, as far as they shape a ramp.

Sources: FASTAXIS and SLOWAXIS, frame sizes and frame times as in the instruments' raw data;
subarray sizes from the JWST user documentation (corners are simplified: one per name, not one per
detector); noise figures are typical of each detector family, not measurements.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """What the detectors of one instrument (or one of its channels) have in common.

    Attributes
    ----------
    gain : float
        Electrons per DN.
    read_noise : float
        Noise of a single read, DN.
    dark_rate : float
        Median dark current, electrons per second.
    pixel_area : float
        Area of a pixel's collecting surface, cm^2: how many cosmic rays it meets.
    exposure_type, readpatt : str
        What an exposure is taken as, unless said otherwise.
    wheels : dict
        Header keywords of the filter wheels and their values, unless said otherwise.
    """

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

    ``fastaxis`` and ``slowaxis`` tell along which axis of the image (1 columns, 2 rows), and in
    which direction, the detector is read fast and slow.
    """

    name: str
    instrument: str
    fastaxis: int
    slowaxis: int
    sca: int
    family: Family
    shape: tuple[int, int] = (2048, 2048)


HAWAII_PIXEL = 3.24e-6  # 18 micron
MIRI_PIXEL = 6.25e-6  # 25 micron

NIRCAM_SHORT = Family(
    2.05, 6.5, 0.002, HAWAII_PIXEL, "NRC_IMAGE", "RAPID",
    {"CHANNEL": "SHORT", "FILTER": "F200W", "PUPIL": "CLEAR"},
)  # fmt: skip
NIRCAM_LONG = Family(
    1.82, 5.5, 0.034, HAWAII_PIXEL, "NRC_IMAGE", "RAPID",
    {"CHANNEL": "LONG", "FILTER": "F356W", "PUPIL": "CLEAR"},
)  # fmt: skip
NIRISS = Family(
    1.61, 6.0, 0.026, HAWAII_PIXEL, "NIS_IMAGE", "NISRAPID",
    {"FILTER": "CLEAR", "PUPIL": "F150W"},
)  # fmt: skip
NIRSPEC = Family(
    1.0, 9.0, 0.008, HAWAII_PIXEL, "NRS_FIXEDSLIT", "NRSRAPID",
    {"FILTER": "F170LP", "GRATING": "G235H"},
)  # fmt: skip
FGS = Family(1.75, 7.5, 0.018, HAWAII_PIXEL, "FGS_IMAGE", "FGSRAPID", {})
MIRI = Family(
    4.1, 4.0, 0.2, MIRI_PIXEL, "MIR_IMAGE", "FASTR1",
    {"FILTER": "F770W"},
)  # fmt: skip

DETECTORS = {
    detector.name: detector
    for detector in (
        Detector("NRCA1", "NIRCAM", -1, 2, 481, NIRCAM_SHORT),
        Detector("NRCA2", "NIRCAM", 1, -2, 482, NIRCAM_SHORT),
        Detector("NRCA3", "NIRCAM", -1, 2, 483, NIRCAM_SHORT),
        Detector("NRCA4", "NIRCAM", 1, -2, 484, NIRCAM_SHORT),
        Detector("NRCALONG", "NIRCAM", -1, 2, 485, NIRCAM_LONG),
        Detector("NRCB1", "NIRCAM", 1, -2, 486, NIRCAM_SHORT),
        Detector("NRCB2", "NIRCAM", -1, 2, 487, NIRCAM_SHORT),
        Detector("NRCB3", "NIRCAM", 1, -2, 488, NIRCAM_SHORT),
        Detector("NRCB4", "NIRCAM", -1, 2, 489, NIRCAM_SHORT),
        Detector("NRCBLONG", "NIRCAM", 1, -2, 490, NIRCAM_LONG),
        Detector("NIS", "NIRISS", -2, -1, 496, NIRISS),
        Detector("NRS1", "NIRSPEC", 2, 1, 491, NIRSPEC),
        Detector("NRS2", "NIRSPEC", -2, -1, 492, NIRSPEC),
        Detector("GUIDER1", "FGS", -2, -1, 497, FGS),
        Detector("GUIDER2", "FGS", 2, -1, 498, FGS),
        Detector("MIRIMAGE", "MIRI", 1, 2, 493, MIRI, (1024, 1032)),
    )
}

# Readout patterns: frames averaged into a group, frames dropped between groups.
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
    },
    "NIRISS": {"NISRAPID": (1, 0), "NIS": (4, 0)},
    "NIRSPEC": {"NRSRAPID": (1, 0), "NRS": (4, 0)},
    "FGS": {"FGSRAPID": (1, 0), "FGS": (4, 0)},
    "MIRI": {"FASTR1": (1, 0), "FASTGRPAVG": (4, 0)},
}

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
        No detector has that name; the message lists those that exist.
    """
    try:
        return DETECTORS[name]
    except KeyError:
        raise ValueError(f"no detector {name!r}: choose one of {', '.join(DETECTORS)}") from None
