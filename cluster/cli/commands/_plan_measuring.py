"""Calibrating some exposures of a plan, to measure their time and memory."""

from __future__ import annotations

from dataclasses import replace

from calbatch.calibrate import hooks
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.registering import begin_batch
from calbatch.cluster.batch.session import drive
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import forget_batch
from calbatch.cluster.ledger import View
from calbatch.cluster.planning.experience import MeasuredExposure, read_experience
from calbatch.cluster.planning.forecast import Forecast
from calbatch.cluster.planning.planner import RerunPolicy
from calbatch.cluster.sites.placement import SiteRequest
from calbatch.models.storage.location import Location
from calbatch.models.temporary import open_process_folder


def measure_examples(
    step: Step, order: Order, needs: Forecast
) -> tuple[list[MeasuredExposure], dict[Location, str]]:
    """Calibrate an exposure of each kind in this process, into a temporary folder.

    Parameters
    ----------
    step : Step
        The configured step or pipeline. Its hooks run, except commands.
    order : Order
        The order of the planned batch.
    needs : Forecast
        The kinds of exposures.

    Returns
    -------
    measured : list of MeasuredExposure
        The measurements.
    failures : mapping
        Exposures that failed, with the reasons.
    """
    examples = [str(group.example) for group in needs.groups if group.example is not None]
    if not examples:
        return [], {}
    order = replace(
        order, inputs=tuple(examples), site=SiteRequest(scheduler="sync"), rerun=RerunPolicy()
    )
    step = hooks.without_commands(step)
    with open_process_folder("plan") as folder:
        step.output_dir = str(folder)
        registered = begin_batch(step, order, hold=True)
        try:
            result = drive(registered, Console(stderr=True))
            failures = {outcome.path: outcome.error for outcome in result.failed}
            with View(result.folder.state) as view:
                return read_experience(view, step.name), failures
        finally:
            forget_batch(registered.folder)


def explain_unmeasured(needs: Forecast, failures: dict[Location, str]) -> str:
    """Return why nothing was measured.

    Parameters
    ----------
    needs : Forecast
        The kinds of exposures.
    failures : mapping
        Exposures that failed when they were calibrated.
    """
    if failures:
        reason = "calibrating an exposure of each kind failed"
    elif any(group.example is not None for group in needs.groups):
        reason = "calibrating an exposure of each kind did not end"
    elif needs.groups:
        reason = "only single exposures can be measured, not units of several files"
    elif needs.unknown:
        reason = "the references have to be fetched first"
    elif needs.kept:
        reason = "all exposures that could be calibrated now are already done"
    else:
        reason = "no exposure can be calibrated now"
    return f"nothing was measured: {reason}"
