"""Time the selection of references compared with PyPI crds 14, and for 100,000 exposures.

The first call of ``getrecommendations``, the public function of crds, reads the rules of the
instrument and those that list the types for a kind of exposure. It is therefore timed warm, and as
the first call in a new process, each compared with calbatch.

    CRDS_PATH=<cache> python benchmarks/crds_bestrefs.py [context]

Headers are drawn from the values in the rules, with distinct selection values. Times are processor
times of a single thread, which other load on the machine does not affect.
"""

import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from astropy.io import fits

from calbatch.crds_client import Client
from calbatch.crds_client.rules.conditioning import alternatives, is_special
from calbatch.crds_client.rules.match import Match
from calbatch.crds_client.selection_headers import read_selection_headers

PROCESSES = 5
HEADERS = 1000
EXPOSURES = 100_000
CONFIGURATIONS = 50
FILES = 500
ROUNDS = 5
Header = dict[str, str]
Headers = list[Header]
Action = Callable[[Header], object]

DATE, TIME = "META.OBSERVATION.DATE", "META.OBSERVATION.TIME"


def plain_values(client: Client, instrument: str) -> dict[str, list[str]]:
    """Return the plain values in the instrument's rules by parameter."""
    values: dict[str, set[str]] = {}
    for rules in client.rules.instrument(instrument).reference_rules():
        for selector in rules.selector.walk():
            if isinstance(selector, Match):
                for key in selector.keys:
                    for name, element in zip(selector.parameters, key, strict=True):
                        parts = alternatives(element)
                        good = {p for p in parts if not is_special(p) and p not in ("*", "N/A")}
                        values.setdefault(name, set()).update(good)
    return {name: sorted(each) for name, each in values.items() if each}


def draw_headers(client: Client, count: int, seed: int = 0) -> list[dict[str, str]]:
    """Draw headers with distinct selection values, for the science instruments in turn."""
    rng = random.Random(seed)
    pools = {name: plain_values(client, name) for name in client.instruments if name != "system"}
    headers: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for instrument in itertools.cycle(pools):
        header = {name: rng.choice(values) for name, values in pools[instrument].items()}
        header["META.INSTRUMENT.NAME"] = instrument.upper()
        header[DATE] = f"{rng.randint(2014, 2024)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        header[TIME] = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}.5"
        headers[tuple(sorted(header.items()))] = header
        if len(headers) == count:
            break
    return list(headers.values())


def milliseconds(action: Action, headers: Headers) -> float:
    """Apply an action to all headers; return the processor time per header in milliseconds."""
    start = time.process_time()
    for header in headers:
        action(header)
    return (time.process_time() - start) / len(headers) * 1e3


def compare_answers(client: Client, official: Action, headers: Headers) -> None:
    """Check that both select the same files."""
    for header in headers[::10]:
        ours = client.best_references(header)
        theirs = official(header)
        assert ours.keys() == theirs.keys()
        for kind, one in ours.items():
            assert one.name == (None if theirs[kind].startswith("NOT FOUND") else theirs[kind])


def time_cold(client: Client, headers: Headers) -> Client:
    """Time the first pass of a new client, including its rules; return the client."""
    start = time.process_time()
    fresh = Client(client.cache.root, client.context, mode="local")
    first = milliseconds(fresh.best_references, headers)
    print(f"  ours, cold: rules and pass {time.process_time() - start:9.2f} s")
    print(f"  ours, first pass           {first:9.3f} ms/header")
    return fresh


def time_warm(ours: Client, headers: Headers) -> float:
    """Time both clients in turn, so that other load affects both; return our time per header."""
    import crds
    from crds.core import log, rmap

    log.THE_LOGGER.logger.setLevel("CRITICAL")

    def in_process(header: Header) -> dict[str, str]:
        return rmap.get_best_references(ours.context, header)

    def public(header: Header) -> dict[str, str]:
        return crds.getrecommendations(header, context=ours.context, observatory="jwst")

    start = time.process_time()
    milliseconds(in_process, headers)
    print(f"  crds, cold: rules and pass {time.process_time() - start:9.2f} s")
    milliseconds(public, with_exposure_type(headers)[:2])
    times: dict[str, list[float]] = {name: [] for name in ("unseen", "again", "best", "public")}
    for seed in range(1, ROUNDS + 1):
        drawn = draw_headers(ours, len(headers), seed)
        times["unseen"].append(milliseconds(ours.best_references, drawn))
        times["best"].append(milliseconds(in_process, drawn[:200]))
        times["again"].append(milliseconds(ours.best_references, headers))
        times["public"].append(milliseconds(public, with_exposure_type(drawn)[:30]))
    unseen = report(times)
    compare_answers(ours, in_process, headers)
    return unseen


FIRST_CALL = """
import json, sys, time
context, header = sys.argv[2], json.loads(sys.argv[3])
start = time.process_time()
if sys.argv[1] == "ours":
    from calbatch.crds_client import Client
    def choose():
        return Client(context=context, mode="local").best_references(header)
else:
    import crds
    from crds.core import log
    log.THE_LOGGER.logger.setLevel("CRITICAL")
    def choose():
        return crds.getrecommendations(header, context=context, observatory="jwst")
imported = time.process_time()
assert choose()
print((imported - start) * 1e3, (time.process_time() - imported) * 1e3)
"""


def time_first_calls(client: Client, headers: Headers, unseen: float) -> None:
    """Time the import and the first call in new processes, for both packages in turn.

    The goal of a ratio of 500 refers to the first call of ``getrecommendations``.
    """
    imports: dict[str, list[float]] = {"ours": [], "crds": []}
    calls: dict[str, list[float]] = {"ours": [], "crds": []}
    for header in with_exposure_type(headers)[:PROCESSES]:
        for whose in calls:
            command = [sys.executable, "-c", FIRST_CALL, whose, client.context, json.dumps(header)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            imported, called = map(float, out.split())
            imports[whose].append(imported)
            calls[whose].append(called)
    for whose, what in (("ours", "client and first call"), ("crds", "getrecommendations")):
        print(
            f"  {whose}, new process: import {statistics.median(imports[whose]):.0f} ms, "
            f"{what} {statistics.median(calls[whose]):.0f} ms"
        )
    theirs, mine = (statistics.median(calls[whose]) for whose in ("crds", "ours"))
    print(f"  crds, first getrecommendations over ours, first call: {theirs / mine:.0f}")
    ratio = f"{theirs / unseen:.0f} (goal 500)"
    print(f"  crds, first getrecommendations over ours, warm, unseen headers: {ratio}")


def with_exposure_type(headers: Headers) -> Headers:
    """Return the headers that the public function accepts, which requires EXP_TYPE."""
    return [header for header in headers if "META.EXPOSURE.TYPE" in header]


def report(times: dict[str, list[float]]) -> float:
    """Print the medians of the times and of their ratios; return our time for unseen headers."""
    names = {
        "unseen": "ours, warm, unseen headers",
        "again": "ours, warm, seen before   ",
        "best": "crds, get_best_references ",
        "public": "crds, getrecommendations  ",
    }
    for key, name in names.items():
        print(f"  {name} {statistics.median(times[key]):9.3f} ms/header")
    goals = {"best": " (goal 20)", "public": ""}
    for theirs, goal in goals.items():
        for mine in ("unseen", "again"):
            pairs = zip(times[theirs], times[mine], strict=True)
            ratio = statistics.median(one / other for one, other in pairs)
            print(f"  {names[theirs].strip()} over {names[mine].strip()}: {ratio:.0f}{goal}")
    return statistics.median(times["unseen"])


def time_batch(client: Client) -> None:
    """Resolve many exposures of few configurations, each with its own time."""
    configurations = draw_headers(client, CONFIGURATIONS)
    headers = {}
    for number in range(EXPOSURES):
        clock = (
            f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.{number % 997:03}"
        )
        headers[f"jw{number:08}.fits"] = {**configurations[number % CONFIGURATIONS], TIME: clock}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, wall = time.process_time(), time.perf_counter()
    table = client.table(headers)
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(table)} exposures, {table.configurations} configurations: {cpu:.2f} s, "
        f"{wall:.2f} s wall time (goal 10); "
        f"peak memory {peak / 1024:.0f} MB, {(peak - before) / 1024:.0f} more than for the headers "
        "(goal 500)"
    )


def time_reading(client: Client) -> None:
    """Time reading the headers of files on one core."""
    keywords = client.selection_keywords("nircam")
    primary = fits.PrimaryHDU()
    for number in range(250):  # a raw JWST header has some 250 cards
        primary.header[f"KEY{number}"] = (number, "a comment of the usual length")
    primary.header.update({"INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "EXP_TYPE": "NRC_IMAGE"})
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{number}.fits") for number in range(FILES)]
        for path in paths:
            fits.HDUList([primary, fits.ImageHDU(), fits.ImageHDU(), fits.BinTableHDU()]).writeto(
                path
            )
        start = time.process_time()
        headers, _ = read_selection_headers(paths, keywords)
        rate = len(headers) / (time.process_time() - start)
    print(f"headers of files read: {rate:.0f} a second on one core (goal 500)")


def main() -> None:
    os.environ.setdefault("CRDS_SERVER_URL", "https://jwst-serverless.stsci.edu")
    os.environ["CRDS_MODE"] = "local"
    context = next(iter(sys.argv[1:]), "latest")
    client = Client(context=context, mode="local")
    headers = draw_headers(client, HEADERS)
    time_reading(client)
    time_batch(Client(client.cache.root, client.context, mode="local"))
    print(f"{len(headers)} headers with distinct selection values, all types:")
    time_first_calls(client, headers, time_warm(time_cold(client, headers), headers))


if __name__ == "__main__":
    main()
