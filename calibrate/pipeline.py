"""The base class of pipelines: steps in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import nearest
from calbatch.calibrate.parameters.configurable import SET_IN_PYTHON, changed_values
from calbatch.calibrate.step import Step

DEFAULT_SOURCE = "the pipeline's default"
"""Source of values that `Pipeline.defaults` sets."""


class Pipeline(Step):
    """A sequence of steps.

    Subclasses list their steps in ``step_defs`` and implement `process`, where each step is an
    attribute named by its alias. The alias is also the section in a ``.cfg`` and the prefix on the
    command line. ``defaults`` replaces defaults of individual steps. ``takes`` lists the suffixes
    of the products that it takes, and ``keeps`` says whether its own are written within a chain.
    """

    takes = ("uncal",)
    keeps = True
    step_defs: ClassVar[Mapping[str, type[Step]]] = {}
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(
        self, name: str | None = None, parent: Step | None = None, **parameters: Any
    ) -> None:
        self._steps = {alias: cls(alias, self) for alias, cls in self.step_defs.items()}
        super().__init__(name, parent)
        self.configure(self.defaults, DEFAULT_SOURCE)
        self.configure({"": parameters}, SET_IN_PYTHON)

    def __getattr__(self, name: str) -> Step:
        steps = self.__dict__.get("_steps", {})
        if name in steps:
            return steps[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}{nearest(name, steps)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.step_defs:
            raise ParameterError(
                f"{self.name}.{name} is a step: set its parameters one by one, or list another "
                "class in the step_defs of your own pipeline"
            )
        if name in ("step_defs", "defaults") and "_steps" in self.__dict__:
            raise ParameterError(
                f"{self.name}.{name} must be set in a subclass: the steps exist already"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        values = [f"{name}={value}" for name, value in changed_values(self)]
        parts = [
            f"{alias}.{name}={value}"
            for alias, step in self._steps.items()
            for name, value in changed_values(step, ignore=(DEFAULT_SOURCE,))
        ]
        return f"{type(self).__name__}({', '.join([*values, *parts])})"

    def _require_known(self, name: str) -> None:
        hint = nearest(name, self.step_defs)
        if hint and name not in self.parameters():
            raise ParameterError(f"{self.name} has no step or parameter {name!r}{hint}")
        super()._require_known(name)

    def steps(self) -> Mapping[str, Step]:
        """Return the steps by alias, in order."""
        return self._steps

    def suffixes_of(self, step: Step) -> Sequence[str]:
        """Return the suffixes of a step's results, unless they are those of the products."""
        return () if step is not self and set(step.suffixes) & set(self.suffixes) else step.suffixes

    def keep(self, aliases: list[str]) -> None:
        """Also write the results of some steps.

        Raises
        ------
        ParameterError
            If there is no such step.
        """
        for alias in aliases:
            if alias not in self._steps:
                raise ParameterError(
                    f"{self.name} has no step {alias!r}{nearest(alias, self._steps)}"
                )
            self._steps[alias].save_results = True


def order_steps(
    steps: Mapping[str, Step], order: Sequence[str], without: Collection[str] = ()
) -> list[Step]:
    """Return the steps of a pipeline in another order.

    Parameters
    ----------
    steps : mapping
        The steps by alias. A subclass may lack some, and may have others, which stay behind the
        step that they follow here.
    order : sequence of str
        The aliases of the usual steps.
    without : collection of str
        The aliases of steps to leave out.
    """
    sorted_aliases = [alias for alias in order if alias in steps]
    previous = None
    for alias in steps:
        if alias not in order and alias not in without:
            place = sorted_aliases.index(previous) + 1 if previous is not None else 0
            sorted_aliases.insert(place, alias)
        if alias in sorted_aliases:
            previous = alias
    return [steps[alias] for alias in sorted_aliases]
