"""`calbatch report`: the summary of a batch, and reports for people and programs."""

from __future__ import annotations

from pathlib import Path

from calbatch.cluster.batch import liveness
from calbatch.cluster.display.plain_lines import print_lines
from calbatch.cluster.display.quantities import megabytes
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console, print_text
from calbatch.cluster.folder import BatchFolder, find_batch
from calbatch.cluster.ledger import View


def main(
    batch: str | None, *, output: str | None = None, form: str | None = None, timings: bool = False
) -> int:
    """Print the summary of a batch, or write its report.

    Parameters
    ----------
    batch : str, optional
        The batch; the latest one by default.
    output : str, optional
        File of the report; by default, reports for programs are printed.
    form : {"json", "csv"}, optional
        Form of a report for programs.
    timings : bool
        Print the CPU time of each step with the summary.

    Returns
    -------
    int
        The exit status for the state of the batch.

    Raises
    ------
    RequestError
        If there is no such batch, or the file cannot be written.
    """
    folder = find_batch(batch)
    with View(folder.state) as view:
        state = liveness.batch_state(folder, view.batch(folder.name))
    if output is None and form is None:
        _print_summary(folder, timings=timings)
    else:
        _write_report(folder, output, form)
    return liveness.EXIT_STATUS[state]


def _print_summary(folder: BatchFolder, *, timings: bool) -> None:
    from calbatch.cluster.batch.report import print_summary
    from calbatch.cluster.batch.result import read_result

    print_summary(read_result(folder), Console(), timings=timings)


def _write_report(folder: BatchFolder, output: str | None, form: str | None) -> None:
    from calbatch.cluster.reporting.batch_report import read_report
    from calbatch.cluster.reporting.report_files import make_csv, make_json, make_page, write_file

    report = read_report(folder)
    make = {"json": make_json, "csv": make_csv, None: make_page}[form]
    text = make(report)
    if output is None:
        print_lines(text.splitlines())
        return
    path = Path(output)
    try:
        write_file(path, text)
    except OSError as error:
        raise RequestError(
            f"{path}: the report cannot be written: {error.strerror}; give another file with -o"
        ) from error
    line = f"{path}: {megabytes(path.stat().st_size)}"
    print_text(Console(stderr=True), escape_text(line))
