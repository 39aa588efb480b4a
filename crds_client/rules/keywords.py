"""The header names of the parameters by which rules select.

The parameter ``META.INSTRUMENT.DETECTOR`` of JWST's rules is the FITS keyword ``DETECTOR``. The
names are from jwst's core schema (PyPI ``stdatamodels`` 6.0.0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from calbatch.crds_client.errors import HeaderError
from calbatch.crds_client.rules.conditioning import condition_values

UNDEFINED = "UNDEFINED"

FITS_KEYWORDS: Mapping[str, str] = {
    "META.APERTURE.NAME": "APERNAME",
    "META.CALIBRATION_SOFTWARE_VERSION": "CAL_VER",
    "META.EXPOSURE.DETMODE": "DETMODE",
    "META.EXPOSURE.GAIN_FACTOR": "GAINFACT",
    "META.EXPOSURE.GROUPGAP": "GROUPGAP",
    "META.EXPOSURE.NFRAMES": "NFRAMES",
    "META.EXPOSURE.NGROUPS": "NGROUPS",
    "META.EXPOSURE.NINTS": "NINTS",
    "META.EXPOSURE.NOUTPUTS": "NOUTPUTS",
    "META.EXPOSURE.READPATT": "READPATT",
    "META.EXPOSURE.TYPE": "EXP_TYPE",
    "META.EXPOSURE.ZERO_FRAME": "ZEROFRAM",
    "META.INSTRUMENT.BAND": "BAND",
    "META.INSTRUMENT.CCC_STATE": "CCCSTATE",
    "META.INSTRUMENT.CHANNEL": "CHANNEL",
    "META.INSTRUMENT.CORONAGRAPH": "CORONMSK",
    "META.INSTRUMENT.DETECTOR": "DETECTOR",
    "META.INSTRUMENT.FILTER": "FILTER",
    "META.INSTRUMENT.FIXED_SLIT": "FXD_SLIT",
    "META.INSTRUMENT.FOCUS_POSITION": "FOCUSPOS",
    "META.INSTRUMENT.GRATING": "GRATING",
    "META.INSTRUMENT.LAMP_MODE": "OPMODE",
    "META.INSTRUMENT.LAMP_STATE": "LAMP",
    "META.INSTRUMENT.MODULE": "MODULE",
    "META.INSTRUMENT.MSA_STATE": "MSASTATE",
    "META.INSTRUMENT.NAME": "INSTRUME",
    "META.INSTRUMENT.PUPIL": "PUPIL",
    "META.INSTRUMENT.PUPIL_IMAGING_LENS": "PILIN",
    "META.MODEL_TYPE": "DATAMODL",
    "META.OBSERVATION.DATE": "DATE-OBS",
    "META.OBSERVATION.TIME": "TIME-OBS",
    "META.SUBARRAY.DETXSIZ": "DETXSIZ",
    "META.SUBARRAY.DETYSIZ": "DETYSIZ",
    "META.SUBARRAY.FASTAXIS": "FASTAXIS",
    "META.SUBARRAY.MULTISTRIPE_READS1": "MSTR_RD1",
    "META.SUBARRAY.NAME": "SUBARRAY",
    "META.SUBARRAY.NUM_SUPERSTRIPE": "SSTR_NST",
    "META.SUBARRAY.SLOWAXIS": "SLOWAXIS",
    "META.SUBARRAY.SUPERSTRIPE_STEP": "SSTR_STP",
    "META.SUBARRAY.XSIZE": "SUBSIZE1",
    "META.SUBARRAY.XSTART": "SUBSTRT1",
    "META.SUBARRAY.YSIZE": "SUBSIZE2",
    "META.SUBARRAY.YSTART": "SUBSTRT2",
    "META.TELESCOPE": "TELESCOP",
    "META.VISIT.CROWDED_FIELD": "CROWDFLD",
    "META.VISIT.TSOVISIT": "TSOVISIT",
    "META.VISIT.TYPE": "VISITYPE",
}
"""JWST's parameters and the FITS keywords that hold them."""

_INSTRUMENT_NAMES = (
    "INSTRUME",
    "META.INSTRUMENT.NAME",
    "meta.instrument.name",
    "instrume",
    "META_INSTRUMENT_NAME",
    "INSTRUMENT",
    "ROMAN.META.INSTRUMENT.NAME",
    "META.INSTRUMENT.TYPE",
    "META_INSTRUMENT_TYPE",
)

Names = tuple[tuple[str, ...], ...]


def synonyms(parameter: str, observatory: str) -> tuple[str, ...]:
    """Return the possible names of a parameter in headers, the preferred one first."""
    names = [parameter, parameter.lower(), parameter.upper()]
    if observatory == "roman":
        names += [name.removeprefix("ROMAN.").removeprefix("roman.") for name in names]
    elif observatory == "jwst" and (keyword := FITS_KEYWORDS.get(parameter.upper())):
        names += [keyword, keyword.lower()]
    return tuple(dict.fromkeys(names))


def all_synonyms(parameters: Iterable[str], observatory: str) -> Names:
    """Return the `synonyms` of each parameter."""
    return tuple(synonyms(parameter, observatory) for parameter in parameters)


def raw_values(header: Mapping[str, Any], names: Names) -> tuple[Any, ...]:
    """Return the value of each parameter, from the first of its names in the header."""
    values = []
    for candidates in names:
        value: Any = UNDEFINED
        for name in candidates:
            if (candidate := header.get(name)) is not None:
                value = candidate
                break
        values.append(value)
    return tuple(values)


def condition_header(
    header: Mapping[str, Any], parameters: Iterable[str], observatory: str
) -> dict[str, str]:
    """Return all parameters' conditioned values; missing ones are ``UNDEFINED``."""
    parameters = tuple(parameters)
    values = raw_values(header, all_synonyms(parameters, observatory))
    return dict(zip(parameters, condition_values(values), strict=True))


def instrument_of(header: Mapping[str, Any], instrument_key: str) -> str:
    """Return the name of the instrument, in upper case.

    Raises
    ------
    HeaderError
        If the header does not contain it.
    """
    for name in (instrument_key, instrument_key.lower(), *_INSTRUMENT_NAMES):
        value = str(header.get(name) or UNDEFINED).strip().upper()
        if value != UNDEFINED:
            return value
    raise HeaderError(f"the header does not name the instrument ({instrument_key} or INSTRUME)")
