"""Chains: pipelines one after another, each of which takes a result of the one before."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.parameters import nearest
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step
from calbatch.models.model import DataModel

SEPARATOR = ","
"""Separator of the names of a chain's pipelines."""


class Chain(Pipeline):
    """Pipelines one after another.

    `make_chain` makes the class for given pipelines. Its sections are the pipelines by name, and
    all of their steps: by their own names where these are unique, else as ``pipeline.step``.
    """

    @classmethod
    def default_name(cls) -> str:
        """Return the names of the pipelines, separated by commas."""
        return SEPARATOR.join(cls.step_defs)

    @classmethod
    def class_path(cls) -> str:
        """Return the import paths of the pipelines, separated by commas."""
        return SEPARATOR.join(part.class_path() for part in cls.step_defs.values())

    def __reduce__(self) -> tuple[Callable[..., Chain], tuple[Any, ...], dict[str, Any]]:
        return _make_instance, tuple(self.step_defs.values()), self.__dict__

    @property
    def parts(self) -> Mapping[str, Step]:
        """The pipelines by name, in order."""
        return self._steps

    def steps(self) -> Mapping[str, Step]:
        """Return the pipelines and all of their steps by section, in order."""
        counts = Counter(alias for part in self._steps.values() for alias in part.steps())
        sections: dict[str, Step] = {}
        for name, part in self._steps.items():
            sections[name] = part
            for alias, step in part.steps().items():
                is_unique = counts[alias] == 1 and alias not in self._steps
                sections[alias if is_unique else f"{name}.{alias}"] = step
        return sections

    def configure(self, values: Mapping[str, Mapping[str, Any]], source: str) -> None:
        """Set parameters; see `Step.configure`. Any section may be written ``pipeline.step``."""
        known = self.steps()
        short = {section: section.rpartition(".")[2] for section in values}
        found = {s if s in known or not s else short[s]: values[s] for s in values}
        super().configure(found, source)

    def keep(self, aliases: list[str]) -> None:
        """Also write the results of some steps; see `Pipeline.keep`."""
        known = self.steps()
        for alias in aliases:
            if alias not in known:
                raise ParameterError(f"{self.name} has no step {alias!r}{nearest(alias, known)}")
            known[alias].save_results = True

    def check(self) -> None:
        """Also reject a suffix of the chain, which makes no products of its own."""
        super().check()
        if self.suffix:
            *_, last = self._steps
            raise ParameterError(
                f"suffix cannot be set for the chain {self.name}: set it for the pipeline whose "
                f"products it names, such as {last}.suffix"
            )

    def process(self, exposure: DataModel) -> Any:
        """Return the results of the last pipeline."""
        result: Any = exposure
        before: Step | None = None
        for part in self._steps.values():
            taken = result if before is None else choose_result(before, part, result)
            result, before = part(taken), part
        return result

    def require_supported(self, exposure: DataModel) -> None:
        """Reject what the first pipeline rejects."""
        next(iter(self._steps.values())).require_supported(exposure)

    def find_requirement(self) -> str:
        """Return the requirement of the first pipeline; see the base class."""
        first = next(iter(self._steps.values()))
        return "" if self.skip or self.pre_hooks else first.find_requirement()

    def suffixes_of(self, step: Step) -> Sequence[str]:
        """Return the suffixes of a pipeline's products, which are those of the chain."""
        return step.suffixes

    def add_products(self, result: Any) -> None:
        """Add the products of the last pipeline; the others have added theirs."""
        last = list(self._steps.values())[-1]
        if not last.save_results:
            last.add_products(result)

    def select(self, names: str) -> Step:
        """Return some of the pipelines, configured alike and independent of this chain.

        Parameters
        ----------
        names : str
            Names of consecutive pipelines, separated by commas, or "" for all.
        """
        if not names:
            return self
        selected = [copy.deepcopy(self).parts[name] for name in names.split(SEPARATOR)]
        if len(selected) == 1:
            (only,) = selected
            only.parent = None
            only.configure({"": {"output_dir": self.output_dir}}, self._source_of_folder())
            return only
        chain = make_chain(tuple(type(part) for part in selected))()
        chain.configure({"": {"output_dir": self.output_dir}}, self._source_of_folder())
        for name, part in zip(names.split(SEPARATOR), selected, strict=True):
            part.parent = chain
            chain._steps[name] = part
        return chain

    def _source_of_folder(self) -> str:
        return self.parameter_values()["output_dir"][1]


def choose_result(before: Step, after: Step, result: Any) -> DataModel:
    """Return the one of a step's results that the next step of a chain takes.

    Parameters
    ----------
    before, after : Step
        The two steps.
    result : model, or sequence or mapping of models
        The result of the first one.

    Raises
    ------
    StepError
        If the step returned no such result.
    """
    models = [result] if isinstance(result, DataModel) else _list_models(result)
    if not after.takes or not before.suffixes:
        return models[0]
    if len(models) == len(before.suffixes):
        named = dict(zip(before.suffixes, models, strict=True))
        for suffix in after.takes:
            if suffix in named:
                return named[suffix]
    wanted = " or ".join(after.takes)
    raise StepError(f"{models[0].path}: {before.name} made no {wanted}, which {after.name} takes")


def _list_models(result: Any) -> list[DataModel]:
    values = result.values() if isinstance(result, Mapping) else result
    return [value for value in values if isinstance(value, DataModel)]


@cache
def make_chain(classes: tuple[type[Step], ...]) -> type[Chain]:
    """Return the class of a chain of pipelines or steps.

    Raises
    ------
    ParameterError
        If one appears twice, or takes no product of the one before.
    """
    names = [cls.default_name() for cls in classes]
    for name, count in Counter(names).items():
        if count > 1:
            raise ParameterError(f"{SEPARATOR.join(names)}: {name} appears {count} times")
    _require_compatible(classes)
    defaults: dict[str, dict[str, bool]] = {
        name: {}
        if issubclass(cls, Pipeline)
        else {"skip": False}  # a step that is named is meant to run
        for name, cls in zip(names, classes, strict=True)
    }
    for name, cls in zip(names[:-1], classes, strict=False):
        defaults[name]["save_results"] = cls.keeps
    body = {
        "__doc__": Chain.__doc__,
        "__module__": Chain.__module__,
        "step_defs": dict(zip(names, classes, strict=True)),
        "defaults": defaults,
        "takes": classes[0].takes,
        "suffixes": classes[-1].suffixes,
    }
    return type("Chain", (Chain,), body)


def _require_compatible(classes: Sequence[type[Step]]) -> None:
    for before, after in pairwise(classes):
        if before.suffixes and after.takes and not set(before.suffixes) & set(after.takes):
            raise ParameterError(
                f"{after.default_name()} takes {' or '.join(after.takes)}, but "
                f"{before.default_name()} makes {' and '.join(before.suffixes)}"
            )


def _make_instance(*classes: type[Step]) -> Chain:
    return make_chain(classes)()


def select_part(step: Step, names: str) -> Step:
    """Return the part of a chain that a unit runs; see `Chain.select`.

    Raises
    ------
    ParameterError
        If the step is not a chain, or has no such pipelines.
    """
    if not names:
        return step
    if not isinstance(step, Chain) or not set(names.split(SEPARATOR)) <= set(step.parts):
        raise ParameterError(f"{step.name} has no pipelines {names}")
    return step.select(names)
