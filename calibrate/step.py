"""The step: what every correction shares, written once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from calbatch import __version__
from calbatch.calibrate import cfg, hooks, provenance, subarray
from calbatch.calibrate.attributes import SET_IN_PYTHON, GuardedAttributes
from calbatch.calibrate.errors import ParameterError, ReferenceFileError, SkipStep, StepError
from calbatch.calibrate.parameters import (
    Boolean,
    Override,
    Parameter,
    Text,
    nearest,
    parameters_of,
)
from calbatch.calibrate.references import (
    NOT_APPLICABLE,
    ChosenReference,
    CrdsReferences,
    HostCopies,
    References,
)
from calbatch.models import datamodels
from calbatch.models.model import DataModel

__all__ = ["SkipStep", "Step", "StepError", "log_once"]

log = logging.getLogger(__name__)

JWST_VERSION = "3.0.0"
"""The jwst release whose numbers the products have; written to CAL_VER."""


@cache
def log_once(text: str) -> None:
    """Say what holds for all exposures alike: once a process."""
    log.info(text)


class Step(GuardedAttributes):
    """One correction.

    Subclasses write `process`, declare their parameters as class attributes
    (`calbatch.calibrate.parameters`) and name the reference types that they ask for. Looking up
    references, ``N/A``, skipping, status, provenance, hooks and saving happen here.

    Parameters
    ----------
    name : str, optional
        The step's name: in a pipeline its alias there.
    parent : Step, optional
        The pipeline that it is part of.
    **parameters
        Values by name.

    Raises
    ------
    ParameterError
        For a parameter that the step does not have, or a value that does not fit.
    """

    reference_file_types: ClassVar[Sequence[str]] = ()
    cal_step: ClassVar[str | None] = None
    suffixes: ClassVar[Sequence[str]] = ()

    skip = Boolean(False, help="leave the exposure as it is and mark the step SKIPPED")
    save_results = Boolean(False, help="write the step's result to a file")
    output_dir = Text(None, none=True, help="the folder for products; by default the input's")
    output_file = Text(None, none=True, help="the product's name, without its suffix")
    suffix = Text(None, none=True, help="what the product's name ends in")
    pre_hooks = hooks.Hooks(help="what changes the input first, or looks at it")
    post_hooks = hooks.Hooks(help="what changes the result, or looks at it")

    name: str

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for reference_type in cls.reference_file_types:
            if not hasattr(cls, f"override_{reference_type}"):
                parameter = Override(reference_type)
                parameter.__set_name__(cls, f"override_{reference_type}")
                setattr(cls, parameter.name, parameter)

    def __init__(
        self, name: str | None = None, parent: Step | None = None, **parameters: Any
    ) -> None:
        self.name = name or self.default_name()
        self.parent = parent
        self.sources: dict[str, str] = {}
        self._references: References | None = None
        self._used: dict[str, str] = {}
        self._products: list[tuple[str, DataModel]] = []
        self.configure({"": parameters}, SET_IN_PYTHON)

    # -- what it is ---------------------------------------------------------------------------

    @classmethod
    def default_name(cls) -> str:
        """Return the step's name: its module's."""
        module = cls.__module__.rpartition(".")[2]
        return module if cls.__module__.startswith("calbatch.") else cls.__name__

    @classmethod
    def parameters(cls) -> dict[str, Parameter[Any]]:
        """Return the parameters by name."""
        return parameters_of(cls)

    @property
    def root(self) -> Step:
        """The step that was asked to run: the outermost pipeline, or the step itself."""
        return self if self.parent is None else self.parent.root

    def steps(self) -> Mapping[str, Step]:
        """Return the steps that this one is made of: none, but in a pipeline."""
        return {}

    def configure(self, values: Mapping[str, Mapping[str, Any]], source: str) -> None:
        """Set parameters, and remember where their values came from.

        Parameters
        ----------
        values : mapping
            Section to parameters: "" for the step's own, a step's alias for one of a pipeline's.
        source : str
            What to say when asked where a value came from.
        """
        for section, parameters in values.items():
            target = self if section == "" else self.steps().get(section)
            if target is None:
                raise ParameterError(
                    f"{self.name} has no step {section!r}{nearest(section, self.steps())}"
                )
            if not isinstance(parameters, Mapping):
                raise ParameterError(
                    f"{target.name} = {parameters!r:.100}: must be parameters by name"
                )
            target._set_parameters(parameters, source)

    def _set_parameters(self, values: Mapping[str, Any], source: str) -> None:
        known = self.parameters()
        for name, value in values.items():
            if name not in known:
                raise ParameterError(f"{self.name} has no parameter {name!r}{nearest(name, known)}")
            setattr(self, name, value)
            self.sources[name] = source

    def check(self) -> None:
        """Refuse unusable hooks and parameters that do not go together, before anything runs.

        Subclasses that add checks call this one, too.

        Raises
        ------
        ParameterError
            With what to change.
        """
        hooks.require_usable_hooks(self)
        for step in self.steps().values():
            step.check()

    def parameter_values(self) -> dict[str, tuple[Any, str]]:
        """Return every parameter's value and where it came from."""
        return {
            name: (getattr(self, name), self.sources.get(name, "the step's default"))
            for name in self.parameters()
        }

    # -- running ------------------------------------------------------------------------------

    @classmethod
    def call(
        cls, init: Any, *args: Any, config_file: str | Path | None = None, **parameters: Any
    ) -> Any:
        """Make the step from a ``.cfg`` and parameters, and run it on a file or model.

        Where neither says a parameter, the observatory's parameter references do
        (`calbatch.calibrate.pars`), and defaults last.

        Parameters
        ----------
        init : path or DataModel
            The exposure.
        *args
            Further inputs of `process`.
        config_file : path, optional
            A ``.cfg``; ``parameters`` have precedence over it.
        **parameters
            Values by name; in a pipeline also ``steps={"jump": {...}}``.

        Returns
        -------
        DataModel, or what `process` returns
            Lazy, unless ``save_results`` wrote it.
        """
        from calbatch.calibrate import pars

        model = init if isinstance(init, DataModel) else datamodels.open(init)
        step = cls.from_config(config_file, parameters)
        return pars.configure_for_exposure(step, model.to_flat_dict()).run(model, *args)

    @classmethod
    def from_config(
        cls, config_file: str | Path | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Self:
        """Return the step with a ``.cfg`` and then parameters applied."""
        step = cls()
        if config_file is not None:
            step.configure(cfg.read(Path(config_file)).values, str(config_file))
        own = dict(parameters or {})
        sections = own.pop("steps", {})
        if not isinstance(sections, Mapping):
            raise ParameterError(f"steps = {sections!r:.100}: must be parameters by step")
        step.configure({"": own, **sections}, SET_IN_PYTHON)
        return step

    def run(self, init: Any, *args: Any) -> Any:
        """Run the step on a file or model, with hooks, status, provenance and saving.

        Raises
        ------
        StepError, ReferenceFileError
            When the exposure cannot be calibrated.
        FileError
            When the input cannot be read or a product cannot be written.
        """
        self.check()
        result = self.run_lazily(init, *args)
        if self.parent is None and self._products:
            self._save()
        return result

    __call__ = run

    def run_lazily(self, init: Any, *args: Any) -> Any:
        """Run the step without writing anything: `products` says what there is to write."""
        self._used.clear()
        self._products.clear()
        model = init if isinstance(init, DataModel) else datamodels.open(init)
        if self.parent is None and not self.skip:
            provenance.warn_repeated(self.name, self.steps() or {self.name: self}, model)
        if self.skip:
            result = self._skip(model, "as its parameter skip says")
        else:
            result = self._run_process(model, *args)
        if self.save_results:
            self.add_products(result)
        return result

    def process(self, *args: Any) -> Any:
        """Return the corrected exposure. Subclasses write this."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it does")

    def _run_process(self, model: DataModel, *args: Any) -> Any:
        model = model.copy()  # hooks may change what they get
        for hook in self.pre_hooks:
            model = hooks.apply_hook(hook, model, self)
        before = len(self.root._products)
        try:
            result = self.process(model.copy(), *args)
        except SkipStep as reason:
            return self._skip(model, str(reason))
        for hook in self.post_hooks:
            result = hooks.apply_hook(hook, result, self)
        further = (product for _, product in self.root._products[before:])
        for product in (*_models(result), *further):
            self._record(product, "COMPLETE")
        return result

    def _skip(self, model: DataModel, reason: str) -> DataModel:
        log.info("%s: skipped, %s", self.name, reason)
        result = model.copy()
        self._record(result, "SKIPPED")
        return result

    def _record(self, model: DataModel, status: str) -> None:
        """Write the step's status and references into a product's metadata.

        A step that was skipped has used no reference.
        """
        if self.cal_step is not None and model.schema.has_branch("meta.cal_step"):
            model[f"meta.cal_step.{self.cal_step}"] = status
        if status == "COMPLETE":
            provenance.record_references(model, self.name, self._used)
        else:
            provenance.record_absence(model, self._used)
        provenance.record_software(model, JWST_VERSION, __version__, self._context())

    def _context(self) -> str | None:
        chosen = (r for t, r in self._used.items() if getattr(self, f"override_{t}", None) is None)
        crds = any(r.startswith("crds://") or r == "N/A" for r in chosen)
        return self.references.context if crds else None

    # -- references ---------------------------------------------------------------------------

    @property
    def references(self) -> References:
        """What chooses reference files: the pipeline's, or the environment's CRDS."""
        if self._references is None:
            self._references = self.parent.references if self.parent else CrdsReferences()
        return self._references

    @references.setter
    def references(self, references: References) -> None:
        self._references = references

    def wanted_references(self) -> set[str]:
        """Return the reference types that CRDS is to choose: not skipped, not overridden."""
        if self.skip:
            return set()
        own = {t for t in self.reference_file_types if getattr(self, f"override_{t}") is None}
        parts = [*self.steps().values(), *hooks.steps_of([*self.pre_hooks, *self.post_hooks])]
        return own.union(*(step.wanted_references() for step in parts))

    def get_reference_file(self, model: DataModel, reference_type: str) -> Any:
        """Return the path of a reference file, or the model given in its place.

        Raises
        ------
        SkipStep
            When the reference is ``N/A``: there is nothing to correct with.
        ReferenceFileError
            When there is none.
        """
        override = getattr(self, f"override_{reference_type}", None)
        chosen = self._choose_reference(model, reference_type, override)
        self._used[reference_type] = chosen.recorded
        if isinstance(override, DataModel):
            return override
        if chosen.path is None:
            raise SkipStep(f"its {reference_type} reference is N/A")
        return str(chosen.path)

    def _choose_reference(
        self, model: DataModel, reference_type: str, override: Any
    ) -> ChosenReference:
        if override is None:
            return self.references.choose(model.to_flat_dict(), reference_type)
        if isinstance(override, DataModel):
            path = override.path if isinstance(override.path, Path) else None
            return ChosenReference(path, str(override.path or type(override).__name__))
        if str(override).upper() == "N/A":
            return NOT_APPLICABLE
        path = Path(override).expanduser()
        if not path.is_file():
            raise ReferenceFileError(f"override_{reference_type}: there is no file {path}")
        return ChosenReference(path, str(path.resolve()))

    def open_reference(self, model: DataModel, reference_type: str) -> Any:
        """Return a reference's model, cut to the exposure's subarray; nothing is read yet.

        Raises
        ------
        SkipStep, ReferenceFileError
            As `get_reference_file`; also when the reference does not cover the exposure.
        """
        found = self.get_reference_file(model, reference_type)
        return subarray.cut_to_exposure(
            model, datamodels.reference(reference_type, found, HostCopies())
        )

    # -- products -----------------------------------------------------------------------------

    def add_product(self, suffix: str, model: DataModel) -> None:
        """Have a further product written with the others."""
        self.root._products.append((suffix, model))

    def add_products(self, result: Any) -> None:
        """Have the step's results written."""
        found = _models(result)
        suffixes = self.suffixes if len(self.suffixes) >= len(found) else [self.name]
        for i, model in enumerate(found):
            suffix = suffixes[i] if i < len(suffixes) else f"{suffixes[0]}_{i}"
            self.add_product(self.suffix or suffix, model)

    def products(self) -> list[tuple[str, DataModel]]:
        """Return (suffix, model) of what the last run is to write."""
        return list(self._products)

    def _save(self) -> None:
        from calbatch.calibrate import products

        products.save(self, self._products)


def _models(result: Any) -> list[DataModel]:
    if isinstance(result, DataModel):
        return [result]
    if isinstance(result, Mapping):
        return list(result.values())
    if isinstance(result, (tuple, list)):
        return [r for r in result if isinstance(r, DataModel)]
    raise StepError(f"process returned {type(result).__name__}, not a model")
