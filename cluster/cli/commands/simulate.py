"""`calbatch simulate`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from calbatch.calibrate.simulate import PRESETS, SimulatedSet, SimulationSpec, simulate
from calbatch.calibrate.simulate.readout_plan import plan_readout
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import Console
from calbatch.models.errors import format_count

RECORD_NAME = "made-by-calbatch.json"
"""The file that records how a folder of simulated exposures was made."""


def main(folder: str, preset: str, exposures: int, seed: int) -> None:
    """Simulate a set, and print its contents and the commands that calibrate it."""
    console = Console(soft_wrap=True)
    specs = find_preset(preset)
    made_with = {"command": "simulate", "preset": preset, "exposures": exposures, "seed": seed}
    place = claim_folder(Path(folder), made_with)
    announce(specs, exposures, console)
    dataset = simulate(place, spec=preset, exposures=exposures, seed=seed)
    print_folders(dataset, console)
    console.print("calibrate them:")
    cache = shlex.quote(str(dataset.crds.absolute()))
    console.print(f"  export CRDS_PATH={cache} CRDS_CONTEXT={dataset.context}")
    raw, out = (shlex.quote(str(Path(folder) / name)) for name in ("exposures", "calibrated"))
    console.print(f"  calbatch run detector1 {raw} -o {out}")


def find_preset(preset: str) -> Sequence[SimulationSpec]:
    """Return a preset's specs.

    Raises
    ------
    RequestError
        If there is none of that name.
    """
    if preset not in PRESETS:
        raise RequestError(f"no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[preset]


def claim_folder(folder: Path, made_with: Mapping[str, object]) -> Path:
    """Return a folder, created if necessary, that is empty or was made in the same way.

    Raises
    ------
    RequestError
        If it contains anything else, or cannot be written.
    """
    text = json.dumps(made_with, indent=2) + "\n"
    record = folder / RECORD_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = record.read_text("utf-8", errors="replace") if record.is_file() else None
        if before is None and any(folder.iterdir()):
            raise RequestError(f"{folder} contains other files: name a new or an empty folder")
        if before not in (None, text):
            raise RequestError(
                f"{folder} was made differently, according to {RECORD_NAME} in it: name another"
            )
        record.write_text(text, "utf-8")
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder


def announce(specs: Sequence[SimulationSpec], exposures: int, console: Console) -> None:
    """Print a summary of the exposures to simulate."""
    total = exposures * len(specs)
    console.print(f"simulating {format_count(total, 'raw exposure')}, with references and truth:")
    for spec in specs:
        readout = plan_readout(spec)
        rows, cols = readout.frame.shape
        frames = f" of {readout.nframes} frames" if readout.nframes > 1 else ""
        integrations = f"{readout.nints} integrations of " if readout.nints > 1 else ""
        groups = format_count(readout.ngroups, "group")
        console.print(
            f"  {exposures} of {readout.detector.instrument} {readout.detector.name}, "
            f"{cols} x {rows} pixels, {integrations}{groups}{frames}"
        )


def print_folders(dataset: SimulatedSet, console: Console) -> None:
    """Print the folders of a set."""
    console.print(f"they are in {dataset.folder.absolute()}:")
    console.print("  exposures/  the raw exposures")
    console.print("  truth/      the light in each, and every cosmic ray")
    console.print("  crds/       their reference files, and the rules that choose them")
