"""The base class of steps: references, parameters, hooks, status and products."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from calbatch import __version__
from calbatch.calibrate import hooks, provenance
from calbatch.calibrate.errors import ParameterError, SkipStep, StepError
from calbatch.calibrate.frames import stripes, subarray
from calbatch.calibrate.host_copies import HostCopies
from calbatch.calibrate.parameters import Boolean, Override, Parameter, Text, nearest, parameters_of
from calbatch.calibrate.parameters.cfg import read as read_cfg
from calbatch.calibrate.parameters.configurable import SET_IN_PYTHON, Configurable
from calbatch.calibrate.parameters.step_html import step_as_html
from calbatch.calibrate.products import UnitAccess
from calbatch.calibrate.products import save as save_products
from calbatch.calibrate.references import CrdsReferences, References, resolve_override
from calbatch.models import datamodels
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import label_operations

__all__ = ["SkipStep", "Step", "StepError", "log_once"]
log = logging.getLogger(__name__)

JWST_VERSION = "3.0.0"
"""The jwst release whose numbers calbatch reproduces; written to CAL_VER."""


@cache
def log_once(text: str) -> None:
    """Log a message that applies to all exposures, once per process."""
    log.info(text)


class Step(UnitAccess, Configurable):
    """One correction.

    Subclasses implement `process`, declare their parameters as class attributes
    (`calbatch.calibrate.parameters`) and list their reference types. This class looks up
    references, handles ``N/A``, skipping, status, provenance and hooks, and saves products.

    Parameters
    ----------
    name : str, optional
        The step's name; in a pipeline, its alias.
    parent : Step, optional
        The pipeline that contains the step.
    **parameters
        Parameter values by name.

    Raises
    ------
    ParameterError
        For an unknown parameter or an invalid value.
    """

    reference_file_types: ClassVar[Sequence[str]] = ()
    cal_step: ClassVar[str | None] = None
    suffixes: ClassVar[Sequence[str]] = ()

    skip = Boolean(False, help="leave the exposure as it is and mark the step SKIPPED")
    save_results = Boolean(False, help="write the step's result to a file")
    output_dir = Text(None, none=True, help="folder for products; the input's folder by default")
    output_file = Text(None, none=True, help="name of the product, without its suffix")
    suffix = Text(None, none=True, help="suffix of the product's name")
    pre_hooks = hooks.Hooks(help="functions, steps or commands that change or inspect the input")
    post_hooks = hooks.Hooks(help="functions, steps or commands that change or inspect the result")

    name: str

    def __init_subclass__(cls, **options: Any) -> None:
        for reference_type in cls.reference_file_types:
            if not hasattr(cls, f"override_{reference_type}"):
                parameter = Override(reference_type)
                parameter.__set_name__(cls, f"override_{reference_type}")
                setattr(cls, parameter.name, parameter)
        super().__init_subclass__(**options)

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

    # -- name, parameters and parts -----------------------------------------------------------

    @classmethod
    def default_name(cls) -> str:
        """Return the name of the step's module; outside calbatch, of its class."""
        module = cls.__module__.rpartition(".")[2]
        return module if cls.__module__.startswith("calbatch.") else cls.__name__

    @classmethod
    def parameters(cls) -> dict[str, Parameter[Any]]:
        """Return the declared parameters by name."""
        return parameters_of(cls)

    @property
    def root(self) -> Step:
        """The outermost pipeline, or the step itself if it has no parent."""
        return self if self.parent is None else self.parent.root

    def steps(self) -> Mapping[str, Step]:
        """Return the parts of a pipeline by alias; a single step has none."""
        return {}

    def _repr_html_(self) -> str:
        return step_as_html(self, self.steps(), Step.parameters())

    def steps_for(self, instrument: str | None) -> Sequence[Step]:
        """Return the parts for exposures of an instrument, in order; all of them for None."""
        return list(self.steps().values())

    def changes_frame(self, exposure: DataModel) -> bool:
        """Return whether later steps need this one, since it changes the frame of an exposure."""
        return False

    def configure(self, values: Mapping[str, Mapping[str, Any]], source: str) -> None:
        """Set parameters and record the source of their values.

        Parameters
        ----------
        values : mapping
            Parameters by section: "" for the step's own, an alias for a step of a pipeline.
        source : str
            A description of the source, e.g. a file name.
        """
        for section, parameters in values.items():
            target = self if section == "" else self.steps().get(section)
            if target is None:
                raise ParameterError(
                    f"{self.name} has no step {section!r}{nearest(section, self.steps())}"
                )
            if not isinstance(parameters, Mapping):
                raise ParameterError(
                    f"{target.name} = {parameters!r:.100}: must map names to values"
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
        """Reject unusable hooks and incompatible parameters before anything runs.

        Subclasses that add checks also call this method.

        Raises
        ------
        ParameterError
            If there are any; the message suggests a change.
        """
        hooks.require_usable_hooks(self)
        for step in self.steps().values():
            step.check()

    def parameter_values(self) -> dict[str, tuple[Any, str]]:
        """Return the value and the source of every parameter."""
        return {
            name: (getattr(self, name), self.sources.get(name, "the step's default"))
            for name in self.parameters()
        }

    # -- running ------------------------------------------------------------------------------

    @classmethod
    def call(
        cls, init: Any, *args: Any, config_file: str | Path | None = None, **parameters: Any
    ) -> Any:
        """Create the step from a ``.cfg`` and parameters, and run it on a file or model.

        Parameters that neither sets come from the observatory's parameter references
        (`calbatch.calibrate.pars`), and otherwise from the defaults.

        Parameters
        ----------
        init : path or DataModel
            The exposure.
        *args
            Further inputs of `process`.
        config_file : path, optional
            A ``.cfg``; ``parameters`` override its values.
        **parameters
            Values by name; for a pipeline also ``steps={"jump": {...}}``.

        Returns
        -------
        DataModel, or the return type of `process`
            Lazy; already written if ``save_results`` is set.
        """
        from calbatch.calibrate import pars

        model = init if isinstance(init, DataModel) else datamodels.open(init)
        step = cls.from_config(config_file, parameters)
        return pars.configure_for_exposure(step, model.to_flat_dict()).run(model, *args)

    @classmethod
    def from_config(
        cls, config_file: str | Path | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Self:
        """Return a step with the values of a ``.cfg``, overridden by parameters."""
        step = cls()
        if config_file is not None:
            step.configure(read_cfg(Path(config_file)).values, str(config_file))
        values = dict(parameters or {})
        sections = values.pop("steps", {})
        if not isinstance(sections, Mapping):
            raise ParameterError(f"steps = {sections!r:.100}: must map steps to parameters")
        step.configure({"": values, **sections}, SET_IN_PYTHON)
        return step

    def run(self, init: Any, *args: Any) -> Any:
        """Run the step on a file or model, including hooks, status, provenance and saving.

        Raises
        ------
        StepError, ReferenceFileError
            If the exposure cannot be calibrated.
        FileError
            If the input cannot be read or a product cannot be written.
        """
        self.check()
        result = self.run_lazily(init, *args)
        if self.parent is None and self._products:
            self._save()
        return result

    __call__ = run

    def run_lazily(self, init: Any, *args: Any) -> Any:
        """Run the step without writing products; `products` returns them."""
        self._used.clear()
        self._products.clear()
        model = init if isinstance(init, DataModel) else datamodels.open(init)
        if self.parent is None and not self.skip:
            provenance.warn_repeated(self.name, self.steps() or {self.name: self}, model)
        reason = "its parameter skip is True"
        result = self._skip(model, reason) if self.skip else self._run_process(model, *args)
        if self.save_results:
            self.add_products(result)
        return result if self.parent else stripes.restore_file_layout(result)

    def process(self, *args: Any) -> Any:
        """Return the corrected exposure. Subclasses implement this."""
        raise NotImplementedError(f"{type(self).__name__} does not implement process")

    def _run_process(self, model: DataModel, *args: Any) -> Any:
        for hook in self.pre_hooks:
            model = hooks.apply_hook(hook, model.copy(), self)  # a hook may change the model
        before = len(self.root._products)
        try:
            with label_operations(self.name):
                result = self.process(model.copy(), *args)
        except SkipStep as reason:
            return self._skip(model, str(reason), reason.status)
        for hook in self.post_hooks:
            result = hooks.apply_hook(hook, result, self)
        for product in _models(result):
            self._record(product, "COMPLETE")
        for _, product in self.root._products[before:]:  # made before it is complete, as in jwst
            self._record_sources(product, "COMPLETE")
        return result

    def _skip(self, model: DataModel, reason: str, status: str = "SKIPPED") -> DataModel:
        log.info("%s: %s, %s", self.name, status.lower(), reason)
        result = model.copy()
        self._record(result, status)
        return result

    def _record(self, model: DataModel, status: str) -> None:
        """Write the step's status, references and software to a product's metadata."""
        self._status = status
        if self.cal_step is not None and model.schema.has_branch("meta.cal_step"):
            model[f"meta.cal_step.{self.cal_step}"] = status
        self._record_sources(model, status)

    def _record_sources(self, model: DataModel, status: str) -> None:
        """Write the step's references and software to a product's metadata."""
        if status == "COMPLETE":
            provenance.record_references(model, self.name, self._used)
        else:
            provenance.record_choices(model, self._used)
        provenance.record_software(model, JWST_VERSION, __version__, self._context())

    def _context(self) -> str | None:
        paths = (r for t, r in self._used.items() if getattr(self, f"override_{t}", None) is None)
        crds = any(r.startswith("crds://") or r == "N/A" for r in paths)
        return self.references.context if crds else None

    # -- references ---------------------------------------------------------------------------

    @property
    def references(self) -> References:
        """The source of reference files: the pipeline's, or CRDS as the environment sets it up."""
        if self._references is None:
            self._references = self.parent.references if self.parent else CrdsReferences()
        return self._references

    @references.setter
    def references(self, references: References) -> None:
        self._references = references

    def wanted_references(self, instrument: str | None = None) -> set[str]:
        """Return the reference types that CRDS has to choose: neither skipped nor overridden.

        They are those for exposures of an instrument; by default, of any.
        """
        if self.skip:
            return set()
        types = {t for t in self.reference_file_types if getattr(self, f"override_{t}") is None}
        parts = [*self.steps_for(instrument), *hooks.steps_of([*self.pre_hooks, *self.post_hooks])]
        return types.union(*(step.wanted_references(instrument) for step in parts))

    def get_reference_file(self, model: DataModel, reference_type: str) -> Any:
        """Return the path of a reference file, or the model that overrides it.

        Raises
        ------
        SkipStep
            If the reference is ``N/A``, i.e. the correction does not apply.
        ReferenceFileError
            If there is no such reference.
        """
        override = getattr(self, f"override_{reference_type}", None)
        if override is None:
            reference = self.references.choose(model.to_flat_dict, reference_type)
        else:
            reference = resolve_override(reference_type, override)
        self._used[reference_type] = reference.recorded
        if isinstance(override, DataModel):
            return override
        if reference.path is None:
            raise SkipStep(f"its {reference_type} reference is N/A")
        return str(reference.path)

    def open_reference(self, model: DataModel, reference_type: str) -> Any:
        """Return a lazy model of a reference, cut to the exposure's subarray.

        Raises
        ------
        SkipStep, ReferenceFileError
            As for `get_reference_file`; also if the reference does not cover the exposure.
        """
        path_or_model = self.get_reference_file(model, reference_type)
        return subarray.cut_to_exposure(
            model, datamodels.open_reference(reference_type, path_or_model, HostCopies())
        )

    # -- products -----------------------------------------------------------------------------

    def add_product(self, suffix: str, model: DataModel) -> None:
        """Add a product to those to be written."""
        model = stripes.restore_file_layout(model)
        model.product = suffix
        self.root._products.append((suffix, model))

    def suffixes_of(self, step: Step) -> Sequence[str]:
        """Return the suffixes of the results of a step within this one, or of this one itself."""
        return step.suffixes

    def add_products(self, result: Any) -> None:
        """Add the step's results to the products to be written."""
        models = _models(result)
        declared = (self.parent or self).suffixes_of(self)
        suffixes = declared if len(declared) >= max(len(models), 1) else [self.name]
        for i, model in enumerate(models):
            suffix = suffixes[i] if i < len(suffixes) else f"{suffixes[0]}_{i}"
            self.add_product(self.suffix or suffix, model)

    def products(self) -> list[tuple[str, DataModel]]:
        """Return (suffix, model) of the products of the last run."""
        return list(self._products)

    def _save(self) -> None:
        save_products(self, self._products)


def _models(result: Any) -> list[DataModel]:
    if isinstance(result, DataModel):
        return [result]
    if isinstance(result, Mapping):
        return list(result.values())
    if isinstance(result, (tuple, list)):
        return [r for r in result if isinstance(r, DataModel)]
    raise StepError(f"process returned {type(result).__name__}, not a model")
