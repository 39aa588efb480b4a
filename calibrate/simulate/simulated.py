"""Simulated sets: raw exposures, their truth, and the references that calibrate them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calbatch.calibrate.simulate import headers
from calbatch.calibrate.simulate.cache import Cache
from calbatch.calibrate.simulate.maps import make_maps
from calbatch.calibrate.simulate.ramp import interleave_ramp, simulate_ramp
from calbatch.calibrate.simulate.readout_plan import Frame, plan_readout
from calbatch.calibrate.simulate.reference_files import make_references
from calbatch.calibrate.simulate.reference_parts import Setting
from calbatch.calibrate.simulate.sky import render_sky
from calbatch.calibrate.simulate.spec import SimulationSpec, as_specs
from calbatch.calibrate.simulate.stripe_pattern import cut_stripes
from calbatch.calibrate.simulate.truth import make_truth, take_stripes, write_truth
from calbatch.calibrate.simulate.write import Extension, write_fits
from calbatch.models.fits.asdf_extension import asdf_table


@dataclass(frozen=True)
class SimulatedSet:
    """The files of a simulated set.

    Attributes
    ----------
    folder : Path
    exposures, truths : list of Path
        Raw exposures and the truth of each, in the same order.
    crds : Path
        The CRDS cache.
    context : str
        The cache's context.
    """

    folder: Path
    exposures: list[Path]
    truths: list[Path]
    crds: Path
    context: str

    def environment(self) -> dict[str, str]:
        """Return the environment with which ``crds`` and ``jwst`` use this cache offline."""
        return {
            "CRDS_PATH": str(self.crds),
            "CRDS_CONTEXT": self.context,
            "CRDS_MODE": "local",
            "CRDS_SERVER_URL": "https://unreachable.invalid",
            "CRDS_READONLY_CACHE": "1",
            "STPIPE_DISABLE_CRDS_STEPPARS": "true",
        }


def simulate(
    folder: str | Path,
    *,
    spec: SimulationSpec | Sequence[SimulationSpec] | str = "demo",
    exposures: int = 4,
    seed: int = 0,
) -> SimulatedSet:
    """Write simulated exposures, their truth and a CRDS cache.

    The same arguments give the same bytes. An exposure does not depend on the number of exposures.

    Parameters
    ----------
    folder : str or Path
        Folder for ``exposures/*_uncal.fits``, ``truth/*_truth.fits`` and ``crds/``.
    spec : SimulationSpec, sequence of them, or str
        The exposures; a string is the name of a preset (``PRESETS``).
    exposures : int
        Number of exposures of each spec.
    seed : int
        Seed of all random numbers, 0 or more.

    Returns
    -------
    SimulatedSet

    Raises
    ------
    ValueError
        If the preset is unknown, a subarray does not fit on its detector, or two specs need
        different references for the same kind of exposure.
    """
    specs = as_specs(spec)
    if exposures < 1:
        raise ValueError(f"exposures={exposures}: must be 1 or more")
    folder = Path(folder)
    cache = Cache(folder / "crds")
    written: list[tuple[Path, Path]] = []
    settings: dict[tuple[str, Frame], Setting] = {}
    for observation, one in enumerate(specs, start=1):
        setting = _make_setting(one, seed, settings)
        for reference in make_references(setting):
            cache.add(reference)
        numbers = range(1, exposures + 1)
        written += [_write_exposure(folder, setting, observation, number) for number in numbers]
    context = cache.finish()
    raw, truths = zip(*written, strict=True)
    return SimulatedSet(folder, list(raw), list(truths), folder / "crds", context)


def _make_setting(
    spec: SimulationSpec, seed: int, earlier: dict[tuple[str, Frame], Setting]
) -> Setting:
    """Return the setting of one kind of exposure.

    Kinds with the same detector and frame of references share the maps.
    """
    readout = plan_readout(spec)
    frame = readout.full_frame if spec.full_references else readout.frame
    other = earlier.get((spec.detector, frame))
    if other is not None and other.spec.noise != spec.noise:
        raise ValueError(
            f"two specs give {spec.detector} different noise: its references must agree"
        )
    maps = other.maps if other else make_maps(readout.detector, frame, spec.noise, seed)
    setting = earlier[spec.detector, frame] = Setting(spec, readout, maps, seed)
    return setting


def _write_exposure(
    folder: Path, setting: Setting, observation: int, exposure: int
) -> tuple[Path, Path]:
    """Simulate and write one exposure and its truth; return their paths."""
    spec, readout = setting.spec, setting.readout
    maps = setting.maps.cut(readout.frame)
    light = render_sky(spec.sky, readout.frame, setting.seed, exposure)
    purpose = (setting.seed, f"{spec.detector} {observation}", exposure)
    ramp = simulate_ramp(readout, maps, light, spec.noise, purpose)
    data, zero = ramp.data, ramp.zero
    if readout.is_interleaved:
        data = interleave_ramp(setting, ramp, purpose)
    if readout.stripes is not None:
        data, zero = (cut_stripes(a, readout.stripes, readout.detector) for a in (data, zero))
    name = headers.exposure_name(spec, observation, exposure)
    stored = readout.as_stored()
    schedule = headers.Schedule(stored, exposure)
    raw = folder / "exposures" / f"{name}_uncal.fits"
    extensions = [
        Extension("SCI", data, headers.science_cards()),
        Extension("GROUP", schedule.groups()),
        Extension("INT_TIMES", schedule.integrations()),
        Extension("ASDF", asdf_table()),
    ]
    if readout.zero_frame:
        extensions.insert(1, Extension("ZEROFRAME", zero))
    write_fits(raw, headers.primary_cards(spec, stored, observation, exposure), extensions)
    bad = setting.all_bad_pixels()[readout.frame.within(setting.maps.frame)]
    truth = make_truth(readout, maps, light, bad, ramp)
    if readout.stripes is not None:
        truth = take_stripes(truth, readout.stripes, readout.detector)
    write_truth(folder / "truth" / f"{name}_truth.fits", truth)
    return raw, folder / "truth" / f"{name}_truth.fits"
