"""Small simulated exposures with their truth and references, made once per session.

>>> exposure = small_exposure("NIS", shape=(64, 64), nints=2, ngroups=5)
>>> with offline(exposure.set): ...  # jwst and crds use the exposure's references
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from calbatch.calibrate.simulate import (
    Noise,
    SimulatedSet,
    SimulationSpec,
    Truth,
    read_truth,
    simulate,
)

USUAL_DETECTOR = {
    "NIRCAM": "NRCA1",
    "NIRISS": "NIS",
    "NIRSPEC": "NRS1",
    "FGS": "GUIDER1",
    "MIRI": "MIRIMAGE",
}


@dataclass(frozen=True)
class SmallExposure:
    """A simulated exposure: its path and its contents."""

    set: SimulatedSet
    path: Path
    data: np.ndarray
    header: fits.Header
    truth: Truth

    def reference(self, kind: str) -> Path:
        """Return the path of a reference; the newest of several."""
        folder = self.set.crds / "references" / "jwst" / self.header["INSTRUME"].lower()
        return sorted(folder.glob(f"*_{kind}_*.fits"))[-1]


def small_exposure(
    detector: str = "NRCA1",
    *,
    shape: tuple[int, int] = (32, 48),
    corner: tuple[int, int] = (1, 1),
    subarray: str = "GENERIC",
    noise: Noise | None = None,
    seed: int = 0,
    **spec: Any,
) -> SmallExposure:
    """Return a small exposure; the same arguments return the same files within a session.

    ``detector`` is a detector's or an instrument's name. By default the frame starts at the corner
    of the detector, so that it has reference pixels at two edges. ``spec`` are the other fields of
    ``SimulationSpec`` (nints, ngroups, nframes, groupgap, readpatt, …); references cover the
    subarray alone unless ``full_references=True``. Treat the files as read-only.
    """
    if subarray != "GENERIC":
        shape, corner = spec.pop("size", None), None
    spec = {"ngroups": 5, "full_references": False} | spec
    wanted = SimulationSpec(
        USUAL_DETECTOR.get(detector, detector),
        subarray,
        shape=shape,
        corner=corner,
        noise=noise or Noise(),
        **spec,
    )
    return simulated_exposure(wanted, seed)


def without_noise(**changes: Any) -> Noise:
    """Return settings without any noise, ray or defect, changed as asked."""
    silent = Noise(poisson=False, read=False, correlated=False, ktc=0, cosmic_rays=0, hot=0, dead=0)
    return replace(silent, **changes)


@contextmanager
def offline(simulated: SimulatedSet) -> Iterator[None]:
    """Make jwst and crds use only a set's references, and no network, inside the block.

    crds remembers contexts and settings per process: its caches are cleared at both ends.
    """
    changes = simulated.environment()
    saved = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    forget_crds()
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        forget_crds()


@cache
def simulated_exposure(spec: SimulationSpec, seed: int) -> SmallExposure:
    """Return the exposure that a spec describes; see `small_exposure`."""
    folder = _session_folder() / f"set{simulated_exposure.cache_info().misses:04d}"
    result = simulate(folder, spec=spec, exposures=1, seed=seed)
    with fits.open(result.exposures[0], memmap=False) as hdus:
        data, header = hdus["SCI"].data, hdus[0].header
    data.flags.writeable = False
    return SmallExposure(result, result.exposures[0], data, header, read_truth(result.truths[0]))


@cache
def simulated_set(spec: SimulationSpec, exposures: int) -> SimulatedSet:
    """Return several exposures that a spec describes, made once per session."""
    folder = _session_folder() / f"several{simulated_set.cache_info().misses:04d}"
    return simulate(folder, spec=spec, exposures=exposures)


@lru_cache(maxsize=1)
def _session_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="calbatch-simulated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def forget_crds() -> None:
    """Make crds read contexts and settings again."""
    from crds.core import utils
    from crds.jwst.locate import cached_dm_find_fits_keyword as of_keyword

    known = of_keyword.cache  # paths of keywords in jwst's schemas, which depend on no setting
    utils.clear_function_caches()
    of_keyword.cache = known
