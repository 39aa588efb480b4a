"""`calbatch demo`: simulate exposures, calibrate them, and compare them with the truth."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from calbatch.calibrate.simulate import (
    RateScore,
    RayScore,
    SimulatedSet,
    read_truth,
    score_rate,
    score_rays,
    simulate,
)
from calbatch.calibrate.suffixes import product_name
from calbatch.cluster.batch import python_api
from calbatch.cluster.batch.report import print_summary
from calbatch.cluster.cli.commands.simulate import (
    announce,
    claim_folder,
    find_preset,
    print_folders,
)
from calbatch.cluster.display.quantities import duration
from calbatch.cluster.exposure.terminal import Console
from calbatch.models import datamodels

PRESET = "demo"
EXPOSURES = 4

PICTURE = "picture.png"

NEXT = """for exposures of your own, with a cache of reference files:
  calbatch doctor
  calbatch plan detector1 FOLDER
  calbatch run detector1 FOLDER -o OUTPUT"""

# Drift that the reference pixels miss shifts a whole exposure by some hundredths of its error.
MEAN_WITHIN = 0.15
SCATTER_WITHIN = 0.1
FOUND_AT_LEAST = 0.95
FALSE_BELOW = 0.005


@dataclass(frozen=True)
class Score:
    """The agreement of one exposure's products with its truth."""

    name: str
    rate: RateScore
    rays: RayScore


def main(output: str, picture: str | None = None) -> int:
    """Run the demonstration; return the exit status, 1 if a check failed."""
    start = time.perf_counter()
    console = Console(soft_wrap=True)
    folder = claim_folder(Path(output), {"command": "demo"})
    announce(find_preset(PRESET), EXPOSURES, console)
    dataset = simulate(folder, spec=PRESET, exposures=EXPOSURES)
    console.print("calibrating them with detector1, as `calbatch run` does")
    products = folder / "calibrated"
    with references_of(dataset):
        # The ramps' flags are compared with the true rays.
        ramps = {"save_calibrated_ramp": True}
        result = python_api.run(
            "detector1", dataset.exposures, products, parameters=ramps, fsync=False
        )
    if result.failed:
        print_summary(result, console)
        return result.exit_status
    scores = [
        score(*pair, products) for pair in zip(dataset.exposures, dataset.truths, strict=True)
    ]
    console.print(_table(scores))
    passed = verdict(scores, console)
    print_folders(dataset, console)
    console.print("  calibrated/ *_rate.fits, *_rateints.fits, and *_ramp.fits with rays flagged")
    target = Path(picture) if picture else folder / PICTURE
    _draw(dataset, products, target)
    console.print(f"  {target.name if picture is None else target}  a picture of the first one")
    console.print(f"the demonstration took {duration(time.perf_counter() - start)}")
    console.print(NEXT)
    return 0 if passed else 1


@contextmanager
def references_of(dataset: SimulatedSet) -> Iterator[None]:
    """Choose references from a set's own cache, regardless of the environment."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("CRDS_", "CALBATCH_CRDS_")):
            del os.environ[name]
    os.environ.update(dataset.environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def score(raw: Path, truth_file: Path, products: Path) -> Score:
    """Compare an exposure's rate and jumps with its truth."""
    truth = read_truth(truth_file)
    rate = datamodels.open(products / product_name(raw.name, "rate"))
    ramp = datamodels.open(products / product_name(raw.name, "ramp"))
    arrays = (np.asarray(rate.data), np.asarray(rate.err), np.asarray(rate.dq))
    name = raw.name.removesuffix("_uncal.fits")
    return Score(name, score_rate(truth, *arrays), score_rays(truth, np.asarray(ramp.groupdq)))


def _table(scores: Sequence[Score]) -> Table:
    title = "pull: (rate - truth) / error; rays: above 10 sigma"
    table = Table("exposure", "pull", "rays found", "false flags", title=title)
    for result in scores:
        table.add_row(
            result.name,
            f"{result.rate.mean:+.3f} ± {result.rate.scatter:.3f}",
            f"{result.rays.found:.0%} of {result.rays.bright}",
            f"{result.rays.false:.3%}",
        )
    return table


def verdict(scores: Sequence[Score], console: Console) -> bool:
    """Print the checks of the products, and return whether all of them passed."""
    bright = sum(s.rays.bright for s in scores)
    completeness = sum(s.rays.found * s.rays.bright for s in scores) / max(bright, 1)
    rates = [s.rate for s in scores]
    # A score that is NaN fails.
    checks = {
        f"rates agree with the truth within {MEAN_WITHIN} of their errors": all(
            abs(r.mean) <= MEAN_WITHIN for r in rates
        ),
        f"their scatter agrees with their errors within {SCATTER_WITHIN:.0%}": all(
            abs(r.scatter - 1) <= SCATTER_WITHIN for r in rates
        ),
        f"{FOUND_AT_LEAST:.0%} of the rays above 10 sigma are found": completeness
        >= FOUND_AT_LEAST,
        f"under {FALSE_BELOW:.1%} of samples are flagged without cause": all(
            s.rays.false < FALSE_BELOW for s in scores
        ),
    }
    for text, holds in checks.items():
        console.print(f"{'yes' if holds else 'NO '} {text}", style="" if holds else "red")
    return all(checks.values())


def _draw(dataset: SimulatedSet, products: Path, picture: Path) -> None:
    from calbatch.calibrate.simulate.picture import draw

    raw = dataset.exposures[0]
    rate = datamodels.open(products / product_name(raw.name, "rate"))
    draw(picture, datamodels.open(raw), rate, read_truth(dataset.truths[0]))
