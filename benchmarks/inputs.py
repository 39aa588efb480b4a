"""Simulated exposures with their references, made once and kept between runs."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calbatch.calibrate.simulate import SimulationSpec, simulate


@dataclass(frozen=True)
class Inputs:
    """Raw exposures, and the environment in which their references are found."""

    paths: Sequence[Path]
    environment: dict[str, str]


def simulated(cache: Path, name: str, spec: SimulationSpec | str, count: int = 1) -> Inputs:
    """Return so many distinct exposures, from the cache where it has them.

    Parameters
    ----------
    cache : Path
        Where sets are kept. Remove it when the simulator has changed.
    name : str
        The set's folder there.
    spec : SimulationSpec or str
        What to simulate: a spec, or a preset's name.
    count : int
        How many; every one has its own sky, rays and noise.
    """
    folder = cache / name
    note = folder / "set.json"  # written last: a set without it is incomplete
    if not note.is_file() or len(json.loads(note.read_text())["paths"]) < count:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"simulating {count} x {name} in {cache}", flush=True)
        made = simulate(folder, spec=spec, exposures=count)
        shutil.rmtree(folder / "truth")  # a third of the whole, and not needed
        paths = [str(path) for path in made.exposures]
        note.write_text(json.dumps({"paths": paths, "environment": made.environment()}))
    known = json.loads(note.read_text())
    return Inputs([Path(path) for path in known["paths"][:count]], known["environment"])
