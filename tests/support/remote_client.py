"""A client on another host: ``python -m support.remote_client ADDRESS FOLDER EXPOSURE...``.

It connects like a site, and obeys the lines of its standard input.
"""

import json
import sys
from pathlib import Path

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.job import calibrate
from calbatch.cluster.sites.page.reporter import report_batch
from calbatch.cluster.sites.remote import open_scheduler
from support.pages_of_batches import hostile_monitor, read_data
from support.placed import eventually, jobs, run_slowly


def report(**values) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main(address: str, folder: Path, exposures: list[Path]) -> None:
    """Submit exposures on request, and print their outcomes."""
    with open_scheduler(address, "exposure") as site:
        client = site.client
        report(site=site.description)
        for line in sys.stdin:
            if line == "workers\n":
                report(workers=sorted(w["host"] for w in _workers(client)))
            elif line == "page\n":
                port = client.scheduler_info()["services"]["dashboard"]
                said = []
                how = {"token": "token", "say": said.append, "describe": dict}
                with report_batch(client, hostile_monitor(), **how):
                    report(said=said, **read_data(f"http://127.0.0.1:{port}", "token"))
            elif line.startswith("submit"):
                count = int(line.split()[1])
                sleeps = [client.submit(run_slowly, n, 0.5, str(folder)) for n in range(count)]
                placed = [client.submit(calibrate, job) for job in jobs(exposures, folder / "out")]
                eventually(lambda: any(client.processing().values()))
                report(submitted=count)
                done = client.gather(sleeps)
                report(done=done, errors=[outcome.error for outcome in client.gather(placed)])


def _workers(client):
    return client.scheduler_info(n_workers=-1)["workers"].values()


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), [Path(p) for p in sys.argv[3:]])
    except RequestError as error:
        report(refused=str(error))
