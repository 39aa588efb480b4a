"""Run a batch on a cluster of this process, and print its cost as JSON.

    in_process.py FOLDER GRAIN FILE...

The processor time of this process is that of the scheduler, the client and the nannies.
"""

import io
import json
import statistics
import sys
import time

from rich.console import Console

from calbatch.cluster.batch.python_api import run

folder, grain, *paths = sys.argv[1:]
before = time.process_time()
result = run(
    "detector1", paths, folder, scheduler="local", workers=2, grain=grain,
    console=Console(file=io.StringIO()),
)  # fmt: skip
driver = time.process_time() - before
stages = {
    name: statistics.median(outcome.stages[name] for outcome in result.done)
    for name in (result.done[0].stages if result.done else ())
}
print(json.dumps({"driver": driver, "stages": stages, "failed": len(result.failed)}))
