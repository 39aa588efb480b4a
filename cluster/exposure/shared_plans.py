"""Plans that exposures of one kind share within a process.

An exposure's plan depends on its kind (`calbatch.models.templates.kinds`), on the step, on its
references, and on settings. The third exposure for which all of these are equal is planned with
blanks in the places of its own parts. If nothing depends on a blank, the plan, the headers of its
products and their graph become templates, which are filled with the parts of each exposure that
follows. All others are planned by themselves.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, NamedTuple

import dask

from calbatch.calibrate import products
from calbatch.calibrate.registry import is_built_in
from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.outcome import is_collecting_warnings
from calbatch.models.errors import ModelError, StorageError
from calbatch.models.model import DataModel
from calbatch.models.schema.validate import VARIABLES
from calbatch.models.storage.memory import memory_limit
from calbatch.models.storage.stamps import Stamp
from calbatch.models.templates.blanks import PATH_TEXT, ConsultedError, Place
from calbatch.models.templates.kinds import FileParts, Kind, detach, make_blank
from calbatch.models.templates.saving_template import FilledTemplate, SavingTemplate
from calbatch.models.templates.template import Template

if TYPE_CHECKING:
    from calbatch.cluster.exposure.job import Job

_OF_KINDS = tuple(
    f"meta.{branch}." for branch in ("exposure", "instrument", "subarray", "cal_step", "ref_file")
)
_OF_EXPOSURES = re.compile(
    r"meta\.exposure\.((start|mid|end)_time|osf_file|duration|elapsed|average_dark|\w+_events"
    r"|primary_cosmic_rays)"
    r"|meta\.instrument\.(gwa_|focus_|\w+_(offset|position)$)"
)
"""Branches of the metadata that belong to kinds, and what in them belongs to single exposures.

These are guesses: metadata on which a plan turns out to depend belong to all kinds from then on.
"""

_BEFORE = 2
"""Exposures of a kind that are planned by themselves before others share a plan.

Making a plan to share costs about as much time as it saves for one exposure.
"""

_REMEMBERED = 64
"""Kinds that a process remembers; a template takes about 100 kB."""

_ATTEMPTS = 8
"""Plans that are tried for a kind; each may show one more path on which it depends."""


class _LogLine(NamedTuple):
    """A message that planning logs, with the place of the call: file, line and function."""

    logger: str
    level: int
    text: str
    place: tuple[str, int, str]


class _SharedPlan(NamedTuple):
    """The templates of one kind: of products and messages, and of saving."""

    products: Template
    saving: SavingTemplate


class PlannedProducts(NamedTuple):
    """Products made from a shared plan.

    Attributes
    ----------
    products : list of (str, DataModel)
        Suffixes and models.
    template : FilledTemplate
        The headers and the graph for saving them.
    """

    products: list[tuple[str, DataModel]]
    template: FilledTemplate


_Known = _SharedPlan | int | None
"""A kind's plan, or the number of its exposures so far, or None if they cannot share a plan."""

_plans: OrderedDict[Hashable, _Known] = OrderedDict()  # by kind and circumstances
_consulted: set[str] = set()  # metadata on which plans have been found to depend
_lock = threading.Lock()


def share_plan(job: Job, exposure: DataModel, stamp: Stamp) -> PlannedProducts | None:
    """Return an exposure's products from the plan of its kind, which is made if it is due.

    Parameters
    ----------
    job : Job
        The exposure.
    exposure : DataModel
        Its model, just opened.
    stamp : Stamp
        The identity of its file.

    Returns
    -------
    PlannedProducts or None
        None if the exposure has to be planned by itself.
    """
    circumstances = _describe_circumstances(job)
    if circumstances is None:
        return None
    has_learnt = False
    for _ in range(_ATTEMPTS):
        try:
            kind, parts = detach(exposure, stamp, _is_of_kind)
        except ModelError:
            return None
        key = kind, circumstances
        plan = _recall(key)
        if isinstance(plan, int) and (plan >= _BEFORE or has_learnt):
            number = len(_consulted)
            try:
                plan = _make_plan(job, kind, parts)
            except (OSError, StorageError):  # may be mended for the next exposure
                return None
            has_learnt = len(_consulted) > number
            if has_learnt:
                continue  # the kind is another one, now that it includes what plans depend on
            _save_plan(key, plan)
        return _fill(plan, parts) if isinstance(plan, _SharedPlan) else None
    return None


def _recall(key: Hashable) -> _Known:
    """Return what is known of a kind; the number of its exposures does not count this one."""
    with _lock:
        known = _plans.pop(key, 0)
        _plans[key] = known + 1 if isinstance(known, int) else known
        while len(_plans) > _REMEMBERED:
            _plans.popitem(last=False)
        return known


def _save_plan(key: Hashable, plan: _Known) -> None:
    with _lock:
        _plans[key] = plan


def _is_of_kind(path: str) -> bool:
    """Return whether a branch or value of the metadata belongs to kinds as a whole."""
    if path in _consulted:
        return True
    return path.startswith(_OF_KINDS) and not _OF_EXPOSURES.match(path)


def _describe_circumstances(job: Job) -> Hashable | None:
    """Return all but the exposure on which its plan depends; None if it cannot be shared."""
    if not _may_share(job):
        return None
    references = job.references
    named = products.list_named_files(job.step)
    chosen = [each.path for each in references.chosen.values() if each.path is not None]
    try:
        step = pickle.dumps(job.step)
        stats = [path.stat() for path in (*map(Path, named), *chosen)]
    except Exception:  # planning gives the error, if it is one
        return None
    return (
        step,
        references.context,
        tuple(sorted(references.chosen.items())),
        tuple(sorted(references.missing.items())),
        references.fault,
        tuple((each.st_size, each.st_mtime_ns, each.st_ctime_ns, each.st_ino) for each in stats),
        repr(dask.config.get("calbatch", {})),
        tuple(os.environ.get(name) for name in VARIABLES),
        memory_limit(),
        logging.root.manager.disable,
        logging.root.level,
        tuple((each.name, each.level) for each in _list_loggers() if each.level),
    )


def _may_share(job: Job) -> bool:
    """Return whether a job is for a single file, and its step does no more than its products show.

    The step must be one of calbatch's own, with nothing in it that cannot be compared.
    """
    parts = [job.step, *job.step.steps().values()]
    is_single = not (job.inputs or job.product or job.association)
    return is_single and is_built_in(job.step) and not any(map(_does_more, parts))


def _does_more(step: Step) -> bool:
    methods = (m for m in vars(type(step)).values() if isinstance(m, FunctionType))
    is_patched = not all(method.__module__.startswith("calbatch.") for method in methods)
    has_models = any(isinstance(value, DataModel) for value in products.file_values(step))
    writes = any(getattr(step, name) for name in step.writes_at_once)
    hands_on = bool(step.hands_on) and not step.skip
    has_hooks = bool(step.pre_hooks or step.post_hooks)
    return has_hooks or writes or hands_on or has_models or is_patched


def _make_plan(job: Job, kind: Kind, parts: FileParts) -> _SharedPlan | None:
    """Return the shared plan of a kind; None if there can be none.

    Metadata on which the plan turns out to depend are added to those that belong to kinds.

    Raises
    ------
    OSError, StorageError
        If files cannot be read now.
    """
    if not is_collecting_warnings():
        return None
    consulted: set[Place] = set()
    step = job.copy_step()
    blank = make_blank(kind, consulted)
    try:
        with _catch_messages() as lines:
            step.run_lazily(blank)
            results = step.products()
            template = Template((results, lines))
            sample, _ = template.fill(parts)
            models = [model for _, model in results]
            saving = SavingTemplate(models, products.place_products(step, sample), parts)
    except (OSError, StorageError):
        raise
    except (Exception, ConsultedError):  # it will be planned by itself, and raise the error
        with _lock:
            _consulted.update(place[1] for place in consulted if place[0] == "meta")
        return None
    return None if consulted else _SharedPlan(template, saving)


def _fill(plan: _SharedPlan, parts: FileParts) -> PlannedProducts:
    """Return the products of an exposure, and log what planning it would have logged."""
    results, lines = plan.products.fill(parts)
    for line in lines:
        log, (path, number, function) = logging.getLogger(line.logger), line.place
        if log.isEnabledFor(line.level):
            fields = line.logger, line.level, path, number, line.text, (), None, function
            log.handle(log.makeRecord(*fields))
    return PlannedProducts(results, plan.saving.fill(parts))


def _list_loggers() -> list[logging.Logger]:
    """Return all loggers of calbatch that exist so far."""
    known = list(logging.root.manager.loggerDict.items())
    loggers = (logger for name, logger in known if name.partition(".")[0] == "calbatch")
    return [logger for logger in loggers if isinstance(logger, logging.Logger)]


class _Capture(logging.Handler):
    """Collects the messages of calbatch that one thread logs."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.lines: list[_LogLine] = []

    def is_foreign(self, record: logging.LogRecord) -> bool:
        """Return whether a record is not collected, but goes to other handlers."""
        is_own = record.thread == self.thread and record.name.partition(".")[0] == "calbatch"
        return not is_own

    def emit(self, record: logging.LogRecord) -> None:
        """Collect a message."""
        if not self.is_foreign(record):
            place = record.pathname, record.lineno, record.funcName
            line = _LogLine(record.name, record.levelno, record.getMessage(), place)
            self.lines.append(line)


@contextmanager
def _catch_messages() -> Iterator[list[_LogLine]]:
    """Collect the messages that this thread logs, which no other handler receives.

    This thread must be the one that collects Python warnings.

    Raises
    ------
    ModelError
        If Python warnings were given, which cannot be repeated as they were.
    """
    capture, top = _Capture(), logging.getLogger("calbatch")
    loggers = (logging.getLogger(), *_list_loggers())
    others = [handler for logger in loggers for handler in logger.handlers]
    top.addHandler(capture)
    for handler in others:
        handler.addFilter(capture.is_foreign)
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield capture.lines
    finally:
        top.removeHandler(capture)
        for handler in others:
            handler.removeFilter(capture.is_foreign)
    texts = [str(each.message) for each in caught]
    for text in texts:
        if PATH_TEXT not in text:  # it may be that of another thread
            warnings.warn(text, stacklevel=2)
    if texts:
        raise ModelError(f"planning warned: {texts[0]}")
