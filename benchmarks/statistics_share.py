"""Measure the share of statistics and quick-looks in the CPU time of a calibration.

    python benchmarks/statistics_share.py --size 2048 --groups 10 --pairs 3

Calibrates one simulated exposure with detector1 in one thread, in turn with and without statistics,
and prints the CPU times of both, and the share that `--timings` shows for them.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import dask

from calbatch.calibrate import products
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.simulate import SimulationSpec, simulate
from calbatch.models.saving import build_saving_graph, save_result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--integrations", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=3)
    return parser.parse_args()


def calibrate(
    path: Path, folder: Path, *, with_statistics: bool
) -> tuple[float, Mapping[str, float]]:
    """Return the CPU seconds of a calibration, and those of each step."""
    start = time.process_time()
    pipeline = Detector1Pipeline(save_results=True, output_dir=str(folder))
    pipeline.run_lazily(path)
    results = pipeline.products()
    paths = products.product_paths(pipeline, results)
    pairs = [(model, place) for (_, model), place in zip(results, paths, strict=True)]
    graph, _ = build_saving_graph(pairs, fsync=False, with_statistics=with_statistics)
    result = save_result(dask.compute(graph, scheduler="sync")[0])
    return time.process_time() - start, result.seconds


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        spec = SimulationSpec(
            "NRCA1", "GENERIC" if options.size < 2048 else "FULL",
            shape=(options.size, options.size), corner=(1, 1),
            nints=options.integrations, ngroups=options.groups,
        )  # fmt: skip
        made = simulate(folder / "set", spec=spec, exposures=1)
        os.environ.update(made.environment())
        output = folder / "out"
        output.mkdir()
        calibrate(made.exposures[0], output, with_statistics=True)  # compiles the kernels
        for _ in range(options.pairs):
            plain, _ = calibrate(made.exposures[0], output, with_statistics=False)
            measured, steps = calibrate(made.exposures[0], output, with_statistics=True)
            share = steps["statistics"] / sum(steps.values())
            print(
                f"without {plain:.2f} s, with {measured:.2f} s of CPU "
                f"({100 * (measured / plain - 1):+.1f} %); statistics {steps['statistics']:.3f} s, "
                f"{100 * share:.1f} % of the steps"
            )


if __name__ == "__main__":
    main()
