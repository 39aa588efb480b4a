"""`calbatch demo`: simulate a small set, calibrate it, compare it with the truth."""

from __future__ import annotations

import importlib.util
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
from calbatch.cluster.display.progress import duration
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import Console
from calbatch.models import datamodels

PRESET = "demo"
EXPOSURES = 4

# Drift that the reference pixels do not see moves a whole exposure by some hundredths of its error.
MEAN_WITHIN = 0.15
SCATTER_WITHIN = 0.1
FOUND_AT_LEAST = 0.95
FALSE_BELOW = 0.005


@dataclass(frozen=True)
class Score:
    """How one exposure's products agree with its truth."""

    name: str
    rate: RateScore
    rays: RayScore


def main(output: str, picture: str | None = None) -> int:
    """Run the demonstration; return the exit status: 1 when anything is not as it should be."""
    start = time.perf_counter()
    console = Console(soft_wrap=True, markup=False, highlight=False)
    if picture is not None and importlib.util.find_spec("matplotlib") is None:
        raise RequestError("--picture needs matplotlib: pip install 'calbatch[plot]'")
    folder = claim_folder(Path(output), {"command": "demo"})
    announce(find_preset(PRESET), EXPOSURES, console)
    made = simulate(folder, spec=PRESET, exposures=EXPOSURES)
    console.print("calibrating them with detector1, as `calbatch run` does")
    products = folder / "calibrated"
    with references_of(made):
        # The ramps' flags are compared with the true rays.
        ramps = {"save_calibrated_ramp": True}
        result = python_api.run(
            "detector1", made.exposures, products, parameters=ramps, fsync=False
        )
    if result.failed:
        print_summary(result, console)
        return result.exit_status
    scores = [score(*pair, products) for pair in zip(made.exposures, made.truths, strict=True)]
    console.print(_table(scores))
    good = verdict(scores, console)
    print_folders(made, console)
    console.print("  calibrated/ *_rate.fits, *_rateints.fits, and *_ramp.fits with rays flagged")
    if picture is not None:
        _draw(made, products, Path(picture))
        console.print(f"and in {picture} is the first of them")
    console.print(f"all this took {duration(time.perf_counter() - start)}")
    return 0 if good else 1


@contextmanager
def references_of(made: SimulatedSet) -> Iterator[None]:
    """Choose references from a set's own cache, whatever the environment says."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("CRDS_", "CALBATCH_CRDS_")):
            del os.environ[name]
    os.environ.update(made.environment())
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
    for one in scores:
        table.add_row(
            one.name,
            f"{one.rate.mean:+.3f} ± {one.rate.scatter:.3f}",
            f"{one.rays.found:.0%} of {one.rays.bright}",
            f"{one.rays.false:.3%}",
        )
    return table


def verdict(scores: Sequence[Score], console: Console) -> bool:
    """Say whether products are as good as they should be, and return it."""
    bright = sum(s.rays.bright for s in scores)
    found = sum(s.rays.found * s.rays.bright for s in scores) / max(bright, 1)
    rates = [s.rate for s in scores]
    # A score without a value is none of these.
    checks = {
        f"rates are the truth within {MEAN_WITHIN} of their errors": all(
            abs(r.mean) <= MEAN_WITHIN for r in rates
        ),
        f"and scatter as these say, within {SCATTER_WITHIN:.0%}": all(
            abs(r.scatter - 1) <= SCATTER_WITHIN for r in rates
        ),
        f"{FOUND_AT_LEAST:.0%} of the rays above 10 sigma are found": found >= FOUND_AT_LEAST,
        f"under {FALSE_BELOW:.1%} of samples are flagged without cause": all(
            s.rays.false < FALSE_BELOW for s in scores
        ),
    }
    for text, holds in checks.items():
        console.print(f"{'yes' if holds else 'NO '} {text}", style="" if holds else "red")
    return all(checks.values())


def _draw(made: SimulatedSet, products: Path, picture: Path) -> None:
    from calbatch.calibrate.simulate.picture import draw

    raw = made.exposures[0]
    rate = datamodels.open(products / product_name(raw.name, "rate"))
    draw(picture, datamodels.open(raw), rate, read_truth(made.truths[0]))
