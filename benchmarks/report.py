"""Measure the report of a large batch: the time to make it, its size, and the time to open it.

    python benchmarks/report.py --exposures 5000

The ledger is synthetic: each exposure has two products with statistics and quick-looks of noise,
which compress least, and every hundredth has failed with a log. Chromium, if it is installed, opens
the report; the time includes the table, the trends and the images that are shown.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psutil
from support.browser import open_browser
from support.measured_batches import header_of, record_measured, statistics_of

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.reporting.batch_report import read_report
from calbatch.cluster.reporting.report_files import make_csv, make_json, make_page

FAILING = 100
STEPS = (
    *("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump"),
    *("clean_flicker_noise", "ramp_fit", "gain_scale", "write", "statistics"),
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposures", type=int, default=5000)
    parser.add_argument("--browser", action="store_true", help="open the report in Chromium")
    return parser.parse_args()


def write_ledger(folder: Path, count: int) -> BatchFolder:
    stages = ", ".join(f'"{step}": 0.123456789' for step in STEPS)
    flags = {"dq": {f"FLAG_{n}": 1000 + n for n in range(20)}}
    found, exposures, headers = {}, {}, {}
    for number in range(count):
        is_failed = number % FAILING == 0
        each = statistics_of(number, flags=flags) if not is_failed else None
        found[number] = [] if is_failed else [each, each]
        exposures[number] = {"stages": f"{{{stages}}}"}
        if is_failed:
            more = {"state": "failed", "reason": "broken " * 20, "log": "line\n" * 500}
            exposures[number] |= more
        headers[number] = header_of(number, f"NRC{'AB'[number % 2]}{number % 5 + 1}")
    return record_measured(folder, found, headers, exposures, "failed")


def measure_opening(path: Path, folder: Path) -> tuple[float, float]:
    """Return the wall seconds until a file has been opened and painted, and the CPU seconds.

    The CPU time is that of the process that shows the page.
    """
    painted = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    with open_browser(folder) as page:
        time.sleep(3)  # the browser is still starting
        start, cpu = time.perf_counter(), measure_cpu()
        page.open(path)
        page.evaluate(f"{painted}.then(() => 0)")
        return time.perf_counter() - start, measure_cpu() - cpu


def measure_cpu() -> float:
    """Return the CPU seconds of the processes that show pages."""
    children = psutil.Process().children(recursive=True)
    times = [c.cpu_times() for c in children if "--type=renderer" in c.cmdline()]
    return sum(each.user + each.system for each in times)


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CALBATCH_STATE_DIR"] = f"{temporary}/state"
        folder = write_ledger(Path(temporary) / "out", options.exposures)
        size = (folder.state / "ledger.sqlite").stat().st_size
        print(f"{options.exposures} exposures; ledger {size / 1e6:.1f} MB")
        start, cpu = time.perf_counter(), time.process_time()
        report = read_report(folder)
        print(f"read: {time.process_time() - cpu:.1f} s of CPU")
        page = make_page(report)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        path = Path(temporary) / "report.html"
        path.write_text(page, encoding="utf-8")
        print(f"page: {seconds:.1f} s, {cpu:.1f} s of CPU; {path.stat().st_size / 1e6:.1f} MB")
        for name, make in (("json", make_json), ("csv", make_csv)):
            start = time.process_time()
            text = make(report)
            spent = time.process_time() - start
            print(f"{name}: {spent:.1f} s of CPU; {len(text) / 1e6:.1f} MB")
        if options.browser:
            wall, cpu = measure_opening(path, Path(temporary) / "profile")
            print(f"opened in {wall:.2f} s, {cpu:.2f} s of CPU of the page")


if __name__ == "__main__":
    main()
