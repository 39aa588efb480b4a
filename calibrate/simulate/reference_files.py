"""Reference files that invert the forward model, in the layout of real ones.

Arrays, units and keywords follow the reference schemas of stdatamodels 6.0 (jwst 3.0.0). Read noise
is the noise of the difference of two reads (correlated double sampling). As in real references, DQ
arrays have their own bits, which DQ_DEF defines.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.effects.nonlinearity import inverse_coefficients
from calbatch.calibrate.simulate.instruments import IRS2, READPATTS
from calbatch.calibrate.simulate.maps import Mask
from calbatch.calibrate.simulate.miri_references import MIRI_INTEGRATIONS, make_miri_references
from calbatch.calibrate.simulate.ramp import dark_factor
from calbatch.calibrate.simulate.readout_plan import ReadoutPlan
from calbatch.calibrate.simulate.reference_parts import (
    BAD_GAIN,
    BAD_LINEARITY,
    BAD_READ_NOISE,
    BAD_SATURATION,
    USEAFTER,
    Reference,
    Setting,
    draw_reference_bias,
    encode_flags,
    exposure_type,
    interleave_flags,
    interleave_map,
    make_reference,
    make_weight_extensions,
    reference_cards,
    wheels,
)
from calbatch.calibrate.simulate.spec import SimulationSpec
from calbatch.calibrate.simulate.stripe_pattern import take_rows
from calbatch.calibrate.simulate.write import Card, Extension

SATURATION_MARGIN = 0.97  # of full well, so that noise does not hide saturation
SIDE_FREQUENCY = 0.1  # of the highest one: where the drift of the sides equals their white noise
PIXEL_AREA_STERADIANS = 2.3e-14
PIXEL_AREA_ARCSECONDS = 9.6e-4
MEGAJANSKYS = 1.9  # per steradian for 1 DN/s

DARK_MODELS = {"MIRI": "DarkMIRIModel", "NIRSPEC": "DarkNirspecModel"}
PHOTOM_MODELS = {"NIRCAM": "Nrc", "NIRISS": "Nis", "FGS": "Fgs", "MIRI": "Mir"}
PHOTOM_COLUMNS = {
    "NIRCAM": (("filter", "S12"), ("pupil", "S12")),
    "NIRISS": (("filter", "S12"), ("pupil", "S12")),
    "FGS": (),
    "MIRI": (("filter", "S12"), ("subarray", "S17")),
}


def make_references(setting: Setting) -> Iterator[Reference]:
    """Yield the references of one kind of exposure; each is made on request."""
    yield _mask(setting)
    yield _saturation(setting)
    yield _linearity(setting)
    yield _gain(setting)
    yield _read_noise(setting)
    yield _dark(setting)
    if setting.instrument == "MIRI":
        yield from make_miri_references(setting)
    else:
        yield _superbias(setting)
        yield _side_kernels(setting)
    if setting.readout.is_interleaved:
        yield _weights(setting)
    if setting.readout.detector.family.exposure_type.endswith("_IMAGE"):
        yield _flat(setting)
        yield _area(setting)
        yield from _photom(setting)


def _mask(setting: Setting) -> Reference:
    maps = setting.maps
    worst = maps.hot & (maps.dark_rate > 100)
    flags = {
        "REFERENCE_PIXEL": maps.reference,
        "DEAD": maps.dead,
        "HOT": maps.hot,
        "DO_NOT_USE": maps.dead | worst,
    }
    if setting.readout.is_interleaved:
        extensions = encode_flags(interleave_flags(setting, flags))
        patterns = "|".join(IRS2)
        return make_reference(setting, "mask", "MaskModel", extensions, READPATT=patterns)
    return make_reference(setting, "mask", "MaskModel", encode_flags(flags))


def _saturation(setting: Setting) -> Reference:
    maps, bad = setting.maps, setting.bad_pixels(BAD_SATURATION)
    threshold = maps.bias + np.float32(SATURATION_MARGIN) * maps.full_well
    half = bad & (maps.gain > np.median(maps.gain))
    threshold[half] = np.nan
    unchecked = (bad & ~half) | maps.reference
    extensions = [Extension("SCI", threshold), *encode_flags({"NO_SAT_CHECK": unchecked})]
    return make_reference(setting, "saturation", "SaturationModel", extensions)


def _linearity(setting: Setting) -> Reference:
    maps, bad = setting.maps, setting.bad_pixels(BAD_LINEARITY)
    coefficients = maps.coefficients.copy()
    half = bad & (maps.gain > np.median(maps.gain))
    coefficients[2, half] = np.nan
    extensions = [Extension("COEFFS", coefficients)]
    if needs_inverse(setting.spec, setting.readout):
        inverse = inverse_coefficients(maps.full_well, maps.coefficients)
        extensions.append(Extension("INV_COEFFS", inverse))
    extensions += encode_flags({"NO_LIN_CORR": (bad & ~half) | maps.reference})
    return make_reference(setting, "linearity", "LinearityModel", extensions)


def needs_inverse(spec: SimulationSpec, readout: ReadoutPlan) -> bool:
    """Return whether the linearity reference has inverse coefficients."""
    return readout.nframes > 1 if spec.inverse_linearity is None else spec.inverse_linearity


def _gain(setting: Setting) -> Reference:
    gain = _spoil(setting.maps.gain, setting.bad_pixels(BAD_GAIN))
    extensions = [Extension("SCI", gain, _unit("ELECTRONS/DN"))]
    return make_reference(setting, "gain", "GainModel", extensions)


def _read_noise(setting: Setting) -> Reference:
    noise = setting.maps.read_noise * np.float32(np.sqrt(2))
    noise = _spoil(noise, setting.bad_pixels(BAD_READ_NOISE))
    extensions = [Extension("SCI", noise, _unit("DN"))]
    patterns = "|".join(READPATTS[setting.instrument])
    return make_reference(setting, "readnoise", "ReadnoiseModel", extensions, READPATT=patterns)


def _superbias(setting: Setting) -> Reference:
    maps, bias = setting.maps, setting.maps.bias
    unreliable = maps.hot & (maps.dark_rate > 200)
    patterns = "|".join(list_patterns(setting))
    if setting.readout.is_interleaved:
        bias = interleave_map(setting, bias, draw_reference_bias(setting))
        unreliable = interleave_map(setting, unreliable, False)
    extensions = [
        Extension("SCI", bias, _unit("DN")),
        Extension("ERR", np.full_like(bias, 0.5)),
        *encode_flags({"UNRELIABLE_BIAS": unreliable}),
    ]
    return make_reference(setting, "superbias", "SuperBiasModel", extensions, READPATT=patterns)


def _side_kernels(setting: Setting) -> Reference:
    """Return the Fourier coefficients with which SIRS smooths the side columns.

    Each side predicts half of the drift up to a frequency, beyond which white noise prevails; the
    nearer side counts more.
    """
    detector = setting.readout.detector
    frequency = np.linspace(0, 1, detector.shape[0] // 2 + 1)
    passed = 1 / (1 + (frequency / SIDE_FREQUENCY) ** 2)
    lag = np.exp(-1j * np.pi * frequency / 8)
    left = np.linspace(0.8, 0.2, 4)[:, np.newaxis]
    tree = {
        "meta": {
            "author": "calbatch",
            "description": "Simulated reference",
            "instrument": {"name": detector.instrument},
            "pedigree": "DUMMY",
            "reftype": "sirskernel",
            "telescope": "JWST",
            "useafter": USEAFTER,
        },
        detector.name.lower(): {
            "gamma": left * passed * lag,
            "zeta": (1 - left) * passed * lag.conj(),
        },
    }
    return Reference(
        kind="sirskernel",
        instrument=detector.instrument,
        frame=setting.readout.full_frame,
        keys={"DETECTOR": detector.name},
        cards=[],
        extensions=[],
        tree=tree,
    )


def list_patterns(setting: Setting) -> list[str]:
    """Return the readout patterns in the same layout as the exposure's."""
    patterns = READPATTS[setting.instrument]
    return [name for name in patterns if (name in IRS2) == setting.readout.is_interleaved]


def _weights(setting: Setting) -> Reference:
    """Return the weights with which IRS2 subtracts reference pixels."""
    extensions = list(make_weight_extensions())
    return make_reference(setting, "refpix", "IRS2Model", extensions, READPATT="|".join(IRS2))


def _dark(setting: Setting) -> Reference:
    """Return the dark: a ramp with the subarray's frame time, for MIRI one per integration."""
    spec, readout = setting.spec, setting.readout
    maps = setting.maps.cut(readout.frame)
    rate = maps.dark_rate / maps.gain
    times = dark_times(spec, readout).astype(np.float32)
    data = rate * times[:, np.newaxis, np.newaxis]
    nframes, groupgap = (readout.nframes, readout.groupgap) if spec.dark_grouped else (1, 0)
    is_miri = setting.instrument == "MIRI"
    if is_miri:
        factors = [dark_factor("MIRI", integration) for integration in range(MIRI_INTEGRATIONS)]
        data = np.stack([data * np.float32(factor) for factor in factors])
    model = {"MIRI": "DarkMIRIModel", "NIRSPEC": "DarkNirspecModel"}.get(
        setting.instrument, "DarkModel"
    )
    flags = encode_flags({"HOT": maps.hot, "UNRELIABLE_DARK": maps.hot & (maps.dark_rate > 150)})
    if is_miri:
        dq = np.broadcast_to(flags[0].data, (MIRI_INTEGRATIONS, 1, *readout.frame.shape))
        flags[0] = Extension("DQ", dq)
    if readout.stripes is not None:
        rows = readout.stripes.calibrated_rows()
        data = take_rows(data, rows, readout.detector)
        flags[0] = Extension("DQ", take_rows(flags[0].data, rows, readout.detector))
    frame = readout.as_calibrated().frame
    cards = [
        *reference_cards(setting, "dark", model, frame),
        ("EXP_TYPE", exposure_type(spec), "Type of data in the exposure"),
        ("READPATT", readout.readpatt, "Readout pattern"),
        ("NFRAMES", nframes, "Number of frames per group"),
        ("NGROUPS", len(times), "Number of groups in integration"),
        ("GROUPGAP", groupgap, "Number of frames dropped between groups"),
    ]
    extensions = [Extension("SCI", data), Extension("ERR", np.zeros_like(data)), *flags]
    subarray = readout.subarray
    keys = {"DETECTOR": spec.detector, "SUBARRAY": subarray, "READPATT": readout.readpatt}
    return Reference(
        kind="dark",
        instrument=setting.instrument,
        frame=frame,
        keys=keys,
        cards=cards,
        extensions=extensions,
    )


def dark_times(spec: SimulationSpec, readout: ReadoutPlan) -> NDArray[np.float64]:
    """Return the time of each group of the dark in seconds after the reset."""
    if spec.dark_grouped:
        starts = np.arange(readout.ngroups) * (readout.nframes + readout.groupgap)
        frames = starts + (readout.nframes + 1) / 2
    else:
        frames = np.arange(1.0, (spec.dark_frames or readout.total_frames) + 1)
    return np.asarray(readout.frame_time * frames)


def _flat(setting: Setting) -> Reference:
    maps = setting.maps
    data = np.where(maps.dead, np.float32(np.nan), maps.flat)
    flags = {"DO_NOT_USE": maps.dead, "NO_FLAT_FIELD": maps.dead | maps.reference}
    extensions = [
        Extension("SCI", data),
        Extension("ERR", np.full_like(data, 0.002)),
        *encode_flags(flags),
    ]
    reference = make_reference(setting, "flat", "FlatModel", extensions, **_optics(setting.spec))
    reference.cards.extend(_optics_cards(setting.spec))
    return reference


def _area(setting: Setting) -> Reference:
    frame = setting.maps.frame
    rows = np.linspace(0.99, 1.01, frame.nrows, dtype=np.float32)[:, np.newaxis]
    extensions = [Extension("SCI", np.repeat(rows, frame.ncols, axis=1))]
    reference = make_reference(
        setting, "area", "PixelAreaModel", extensions, **_optics(setting.spec)
    )
    reference.cards.extend(_optics_cards(setting.spec))
    reference.cards.extend(_pixel_area())
    return reference


def _photom(setting: Setting) -> Iterator[Reference]:
    """Yield the flux calibration, and an earlier one that it supersedes."""
    instrument, frame = setting.instrument, setting.readout.full_frame
    model = f"{PHOTOM_MODELS[instrument]}ImgPhotomModel"
    layout = [*PHOTOM_COLUMNS[instrument], ("photmjsr", "f4"), ("uncertainty", "f4")]
    values = {name.lower(): value.encode() for name, value in wheels(setting.spec).items()}
    values["subarray"] = b"GENERIC"
    for useafter, factor in (("2014-01-01T00:00:00", 10.0), (USEAFTER, 1.0)):
        numbers = {"photmjsr": MEGAJANSKYS * factor, "uncertainty": 0.05}
        table = np.array([tuple((values | numbers)[name] for name, _ in layout)], dtype=layout)
        cards = reference_cards(setting, "photom", model, frame, useafter)
        cards.append(("EXP_TYPE", exposure_type(setting.spec), "Type of data in the exposure"))
        cards.extend(_pixel_area())
        keys = {"DETECTOR": setting.spec.detector} | _optics(setting.spec)
        extensions = [Extension("PHOTOM", table)]
        yield Reference(
            kind="photom",
            instrument=instrument,
            frame=frame,
            keys=keys,
            cards=cards,
            extensions=extensions,
            useafter=useafter,
        )


def _pixel_area() -> list[Card]:
    """Return the cards of the nominal pixel area."""
    return [
        ("PIXAR_SR", PIXEL_AREA_STERADIANS, "Nominal pixel area in steradians"),
        ("PIXAR_A2", PIXEL_AREA_ARCSECONDS, "Nominal pixel area in arcsec^2"),
    ]


def _optics(spec: SimulationSpec) -> dict[str, str]:
    """Return the filter keywords that select a flat or an area."""
    filters = {key: value for key, value in wheels(spec).items() if key != "CHANNEL"}
    return filters | {"EXP_TYPE": exposure_type(spec)}


def _optics_cards(spec: SimulationSpec) -> list[Card]:
    """Return the cards of the filter keywords."""
    return [(key, value, "") for key, value in _optics(spec).items()]


def _unit(unit: str) -> list[Card]:
    """Return the card of an array's unit."""
    return [("BUNIT", unit, "physical units of the array values")]


def _spoil(image: NDArray[np.float32], bad: Mask) -> NDArray[np.float32]:
    """Return a copy with NaN at the bad pixels."""
    return np.where(bad, np.float32(np.nan), image)
