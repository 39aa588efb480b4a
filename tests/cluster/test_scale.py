"""The cost of an exposure in a large batch: files opened, ledger queries, imports."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.batches import calibrate_on, small_set

from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.driver.recording import Attempt
from calbatch.cluster.driver.retry_queue import RetryQueue
from calbatch.cluster.exposure.job import ExposureOptions, Job
from calbatch.cluster.folder import STATE
from calbatch.cluster.ledger import View
from calbatch.cluster.planning.identity import ReferenceChecksums
from calbatch.cluster.planning.planned_exposure import PlannedExposure, StepSettings
from calbatch.cluster.planning.planner import BLOCK, FIRST_BLOCK, Planner, open_references
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.cluster.sites import placement
from calbatch.models.datamodels import RampModel

_opened: list[str] = []
_watching = threading.Event()


def _note(event, arguments):
    if event == "open" and _watching.is_set():
        _opened.append(str(arguments[0]))


sys.addaudithook(_note)


@pytest.fixture
def opened_files():
    """Return the list of files that this process opens during the test."""
    _opened.clear()
    _watching.set()
    yield _opened
    _watching.clear()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder with the products and the ledger of a small set."""
    folder = tmp_path_factory.mktemp("done")
    made = small_set()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment().items():
            patch.setenv(name, value)
        with placement.open_place(placement.Place("sync", 1, "exposure")) as site:
            result = calibrate_on(site, "dq_init", made.exposures, folder)
    assert result.counts == {"done": 3}
    return folder


def plan_exposures(paths, folder=None):
    """Plan a step for exposures with the records of a folder's ledger."""
    step = configure_step("dq_init")
    if folder is None:
        blocks = Planner(step, open_references(step)).plan_blocks(enumerate(paths))
        return [one for block in blocks for one in block]
    with Questions(folder / STATE) as books:
        sums = ReferenceChecksums(books.find_checksum, lambda *_: None)
        how = {"date": "2024-01-31T12:00:00", "history": books, "checksums": sums}
        step.output_dir = str(folder)
        blocks = Planner(step, open_references(step), **how).plan_blocks(enumerate(paths))
        found = [one for block in blocks for one in block]
        sums.close()
        return found, books.asked


class Questions(View):
    """A ledger that records the queries that it answers."""

    def __init__(self, folder):
        self.asked = []
        super().__init__(folder)

    def _rows(self, query, *values):
        self.asked.append(query)
        return super()._rows(query, *values)


def test_an_input_is_stated_once_and_read_once(simulated, opened_files):
    assert all(one.error is None and one.header for one in plan_exposures(simulated.exposures))
    for path in simulated.exposures:
        assert opened_files.count(str(path)) == 2


def test_planning_again_reads_no_header_and_queries_the_ledger_once_a_block(
    simulated, finished, opened_files
):
    found, asked = plan_exposures(simulated.exposures, finished)
    assert all(one.is_known and one.earlier_products for one in found)
    for path in simulated.exposures:
        assert opened_files.count(str(path)) == 0
    of_exposures = [query for query in asked if "FROM refs" not in query]
    # one query each for headers, the headers that they resemble, deaths, products and contents
    assert len(of_exposures) == 5
    assert len(simulated.exposures) < FIRST_BLOCK < BLOCK


def test_status_imports_no_calibration_code(finished):
    script = (
        "import sys; from calbatch.cluster.cli.commands.status import read_status;  "
        "from calbatch.cluster.folder import find_batch; from pathlib import Path; "
        f"print(read_status(find_batch({str(finished)!r})).done); "
        "print(sorted({'numpy', 'dask', 'distributed', 'astropy', 'numba'} & set(sys.modules)))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert completed.stdout.split("\n")[:2] == ["3", "[]"]


def test_retries_start_when_they_are_due_earliest_first():
    settings = StepSettings(step=configure_step("dq_init"), digest="", body={})

    def one(number, due, alone=False):
        of = PlannedExposure(
            number=number,
            path=Path(f"/{number}"),
            settings=settings,
            references=ResolvedReferences(""),
        )
        return Attempt(of, due=due, alone=alone)

    waiting = RetryQueue()
    for number, due in enumerate((5.0, 1.0, 3.0, 1.0)):
        waiting.add(one(number, due))
    waiting.add(one(4, 0.0, alone=True))
    assert waiting.has_exposures(alone=False)
    assert waiting.has_exposures(alone=True)
    taken = [waiting.take(4.0, alone=False) for _ in range(4)]
    assert [t.planned.number if t else None for t in taken] == [1, 3, 2, None]
    assert waiting.take(4.0, alone=True).planned.number == 4
    assert not waiting.has_exposures(alone=True)
    assert waiting.peek().planned.number == 0


class Stuck(Step):
    """A step that cannot be pickled."""

    lock = None

    def process(self, exposure):
        return RampModel(exposure)


def test_an_unpicklable_exposure_fails_alone(simulated, tmp_path):
    good, stuck = configure_step("dq_init"), Stuck()
    stuck.lock = threading.Lock()  # cannot be pickled
    for step in (good, stuck):
        step.output_dir = str(tmp_path)
    references = plan_exposures(simulated.exposures[:1])[0].references
    with placement.open_place(placement.Place("local", 2, "exposure")) as site:
        for number, (step, path) in enumerate(
            zip((good, stuck, good), simulated.exposures, strict=True)
        ):
            job = Job(
                number=number,
                path=path,
                step=step,
                references=references,
                options=ExposureOptions(fsync=False),
                batch="batch",
            )
            assert site.submit(job) is None
        ended = {}
        while len(ended) < 3:
            ended.update((job.number, outcome) for job, outcome in site.collect(1.0))
    assert ended[1].error.startswith(f"{simulated.exposures[1]}: ")
    assert not ended[0].failed
    assert not ended[2].failed
