"""The inputs and states that a step takes and hands on, and the files of its products."""

from __future__ import annotations

import copy
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.parameters import InputFile, Override
from calbatch.calibrate.suffixes import product_name, strip_extension
from calbatch.models.storage.location import Location, location

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step
    from calbatch.models.model import DataModel
    from calbatch.models.saving import SaveResult


log = logging.getLogger(__name__)

Members = Mapping[str, Sequence["DataModel"]]
"""Lazy models of a unit's inputs, by role."""

_NONE: Members = MappingProxyType({})


class UnitAccess:
    """Base class of steps: the methods for chains and for units of several inputs.

    Attributes
    ----------
    takes : sequence of str
        Suffixes of the products that it takes as input, the preferred one first; empty if it takes
        any. A folder stands for its files with the first of them.
    keeps : bool
        True if its products are written even if the next pipeline of a chain takes its result.
    roles : sequence of str
        Roles of the members of associations that it uses, ``science`` among them; empty if it takes
        no associations. Its main input is the first science member.
    combines : bool
        True if it calibrates associations only, never an exposure by itself.
    groups_by, orders_by : sequence of str
        Metadata paths, such as ``meta.instrument.detector`` and ``meta.exposure.start_time``.
        Exposures with equal values of the first are calibrated one after another, in the order of
        the second, which is empty if the order does not matter.
    writes_at_once : sequence of str
        Parameters with which `process` itself writes a file that is not a FITS product, by
        `publish_file`. Forecasts and other trials leave them out; see `without_files`.
    hands_on : sequence of str
        Suffixes of the products that the next exposure in this order receives; see
        `received_state`.
    is_trial : bool
        True in a forecast or another trial, which gives no advice about a batch.
    parent : Step, optional
        The pipeline that contains the step.
    """

    takes: ClassVar[Sequence[str]] = ()
    keeps: ClassVar[bool] = False
    roles: ClassVar[Sequence[str]] = ()
    combines: ClassVar[bool] = False
    groups_by: ClassVar[Sequence[str]] = ()
    orders_by: ClassVar[Sequence[str]] = ()
    hands_on: ClassVar[Sequence[str]] = ()
    writes_at_once: ClassVar[Sequence[str]] = ()

    is_trial: bool = False
    parent: Step | None
    _members: Members = _NONE
    _staging: Path | None = None
    _status: str = ""  # of the last run

    @property
    def members(self) -> Members:
        """The inputs of the unit, by role; empty for a unit of one file."""
        return self._members if self.parent is None else self.parent.members

    @members.setter
    def members(self, members: Members) -> None:
        self._members = members

    @property
    def staging(self) -> Path | None:
        """The folder in which an attempt of a batch makes its files; None outside batches."""
        return self._staging if self.parent is None else self.parent.staging

    @staging.setter
    def staging(self, folder: Path | None) -> None:
        self._staging = folder

    def require_supported(self, exposure: DataModel) -> None:
        """Reject an exposure that cannot be calibrated, as far as its header shows.

        A batch calls this when it plans, before references are chosen; `process` checks again. See
        `find_requirement`.

        Parameters
        ----------
        exposure : DataModel
            The exposure, of which no pixel is read.

        Raises
        ------
        StepError
            If it cannot be calibrated. The base class accepts everything.
        """

    def find_requirement(self) -> str:
        """Return the name of the class whose `require_supported` applies to a batch's inputs.

        It is empty if the step is skipped, if hooks come before it, which may mend an exposure, or
        if a subclass has a `process` of its own, but no requirement.
        """
        step: Any = self
        if step.skip or step.pre_hooks:
            return ""
        process, requirement = (
            next(c for c in type(self).__mro__ if name in vars(c))
            for name in ("process", "require_supported")
        )
        is_its_own = requirement is not UnitAccess and issubclass(requirement, process)
        return f"{requirement.__module__}.{requirement.__qualname__}" if is_its_own else ""

    def shared_files(self) -> Mapping[str, str]:
        """Return the parameters in use that name the same file for every exposure.

        A batch of several exposures refuses them, since each would read or write the same file.

        Returns
        -------
        mapping
            The remedy for each parameter.
        """
        return {}

    def received_state(self, suffix: str) -> DataModel | None:
        """Return the product that the previous exposure has handed on.

        A step hands on a state by adding it to the products, ``self.add_product(suffix, model)``,
        and listing the suffix in ``hands_on``. Every exposure that the step completes must hand
        it on; only an attempt that succeeds does.

        Parameters
        ----------
        suffix : str
            The product's suffix.

        Returns
        -------
        DataModel or None
            None for the first exposure, for one whose predecessor failed or skipped the step, and
            outside batches.
        """
        models = self.members.get(suffix, ())
        return models[0] if models else None


def without_files(step: Step) -> Step:
    """Return a step for trials: parameters by which `process` itself writes files have defaults."""
    twin = copy.deepcopy(step)
    for part in (twin, *twin.steps().values()):
        part.is_trial = True
        for name in part.writes_at_once:
            setattr(part, name, part.parameters()[name].default)
    return twin


def file_values(step: Step) -> list[Any]:
    """Return the values of a step's parameters for files: overrides and other inputs."""
    cls: Any = type(step)
    return [getattr(step, name) for name in _list_file_parameters(cls)]


@cache  # parameters are declared with the class
def _list_file_parameters(cls: Any) -> tuple[str, ...]:
    kinds = (InputFile, Override)
    return tuple(n for n, parameter in cls.parameters().items() if isinstance(parameter, kinds))


def list_named_files(step: Step) -> list[str]:
    """Return the files that parameters of a step or pipeline name: overrides and other inputs."""
    return [
        os.fspath(value)
        for part in (step, *step.steps().values())
        for value in file_values(part)
        if isinstance(value, (str, os.PathLike)) and value != "N/A"
    ]


def publish_file(step: Step, path: Path, write: Callable[[Path], None]) -> None:
    """Write a file that is not a FITS product, and publish it when it is complete.

    In a batch it is made in the attempt's staging folder, out of which an attempt that its driver
    has abandoned can publish nothing.

    Parameters
    ----------
    step : Step
        The step that writes it.
    path : Path
        The final name. Missing folders are made.
    write : callable
        Writes the file at a path.

    Raises
    ------
    OSError
        If the file cannot be written or renamed; also if the attempt has been abandoned.
    StepError
        If the step's products go to an object store, or to another file system in a batch.
    """
    if step.root.output_dir and not isinstance(location(step.root.output_dir), Path):
        raise StepError(
            f"{path}: {step.name} can only write a file if the products go to a folder, but they "
            f"go to {step.root.output_dir}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path if step.staging is None else step.staging / path.name
    write(made)
    if made == path:
        return
    try:
        made.rename(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise StepError(
            f"{path}: in a batch, {step.name} can only write a file on the file system of the "
            "output folder: name one in that folder"
        ) from error


@contextmanager
def lock_folder(folder: Path, patience: float = 60.0) -> Iterator[None]:
    """Lock a folder against other processes that update a file in it in the same way.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    patience : float
        Seconds to wait for the lock.

    Raises
    ------
    StepError
        If another process holds the lock for longer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + patience
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _try_to_lock(descriptor):
            if time.monotonic() > end:
                raise StepError(
                    f"{folder}: another process has been updating a file in this folder for "
                    f"{patience:.0f} s: try again when it has ended"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _try_to_lock(descriptor: int) -> bool:
    """Return whether a folder is now locked, or its file system has no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # NFS locks only what is open for writing
        log.debug("folders cannot be locked here: %s", error)
    return True


def folder_of(step: Step, model: DataModel) -> Location:
    """Return the folder of a model's products: the step's, or else that of the model's file."""
    inputs = model.path.parent if model.path else Path()
    return location(step.output_dir) if step.output_dir else inputs


def require_states(step: Step, products: Sequence[tuple[str, DataModel]]) -> None:
    """Refuse the products of a unit if they lack one that a completed step hands on.

    Raises
    ------
    StepError
        If there is such a step; the next exposure would receive nothing from it.
    """
    written = {suffix for suffix, _ in products}
    missing = [suffix for suffix in step.hands_on if suffix not in written]
    if missing and step._status == "COMPLETE":
        raise StepError(
            f"{step.name} hands on the product {missing[0]!r} to the next exposure, but it is not "
            "written: the step must pass it to add_product, or be saved with save_results"
        )
    for part in step.steps().values():
        require_states(part, products)


def product_paths(step: Step, products: Sequence[tuple[str, DataModel]]) -> list[Location]:
    """Return the locations of a step's products.

    Raises
    ------
    StepError
        If two products would share a name, or a product has neither an input file nor a name.
    """
    locations: list[Location] = []
    for suffix, model in products:
        path = folder_of(step, model) / _file_name(step, suffix, model)
        if path in locations:
            raise StepError(f"{step.name}: two products would be called {path.name}")
        locations.append(path)
    return locations


def _file_name(step: Step, suffix: str, model: DataModel) -> str:
    """Return the name of a product; without a suffix, the one that its step has given it."""
    if model.path and not suffix:
        return f"{strip_extension(model.path.name)}.fits"
    source = step.output_file or (model.path.name if model.path else model.meta.filename)
    if not source:
        raise StepError(f"{step.name}: set output_file to save a model that has no file")
    return product_name(Path(source).name, suffix)


def place_products(
    step: Step, products: Sequence[tuple[str, DataModel]]
) -> list[tuple[DataModel, Location]]:
    """Return a step's products with their locations; see `product_paths`."""
    paths = product_paths(step, products)
    return [(model, path) for (_, model), path in zip(products, paths, strict=True)]


def save(step: Step, products: Sequence[tuple[str, DataModel]]) -> SaveResult:
    """Write a step's products together."""
    from calbatch.models.saving import save as save_models  # names do not need dask

    pairs = place_products(step, products)
    for _, path in pairs:
        if isinstance(path, Path):  # object stores need no folders
            path.parent.mkdir(parents=True, exist_ok=True)
    return save_models(pairs)
