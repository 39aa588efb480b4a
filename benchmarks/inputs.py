"""Simulated exposures with their references, cached between runs."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calbatch.calibrate.simulate import SimulationSpec, simulate


@dataclass(frozen=True)
class Inputs:
    """Raw exposures, and the environment variables for their references."""

    paths: Sequence[Path]
    environment: dict[str, str]


def load_or_simulate(cache: Path, name: str, spec: SimulationSpec | str, count: int = 1) -> Inputs:
    """Return simulated exposures, from the cache if it has them.

    Parameters
    ----------
    cache : Path
        Folder of the cached sets. Remove it when the simulator has changed.
    name : str
        Name of the set's folder.
    spec : SimulationSpec or str
        A spec, or the name of a preset.
    count : int
        Number of exposures, each with its own sky, rays and noise.
    """
    folder = cache / name
    record = folder / "set.json"  # written last: a set without it is incomplete
    if not record.is_file() or len(json.loads(record.read_text())["paths"]) < count:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"simulating {count} x {name} in {cache}", flush=True)
        new = simulate(folder, spec=spec, exposures=count)
        shutil.rmtree(folder / "truth")  # not needed, and a third of the size
        paths = [str(path) for path in new.exposures]
        record.write_text(json.dumps({"paths": paths, "environment": new.environment()}))
    cached = json.loads(record.read_text())
    return Inputs([Path(path) for path in cached["paths"][:count]], cached["environment"])
