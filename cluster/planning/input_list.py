"""The inputs of a batch with their numbers, in little memory."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import starmap
from typing import Self, overload

from calbatch.models.storage.location import Location, location


class InputList(Sequence[tuple[int, Location]]):
    """Inputs with their numbers, of which only the texts are kept.

    An object for a path takes ten times the memory of its name, and a batch may have a million.

    Parameters
    ----------
    inputs : iterable of (int, Path or Url or str)
        Numbers and paths.
    """

    def __init__(self, inputs: Iterable[tuple[int, Location | str]] = ()) -> None:
        self._numbers = array("q")
        self._folders: list[str] = []
        self._names: list[str] = []
        for number, path in inputs:
            folder, slash, name = str(path).rpartition("/")
            self._add(number, sys.intern(folder + slash), name)

    def _add(self, number: int, folder: str, name: str) -> None:
        self._numbers.append(number)
        self._folders.append(folder)
        self._names.append(name)

    def select(self, is_selected: Callable[[int], bool]) -> Self:
        """Return the inputs of the numbers for which a function returns True."""
        selected = type(self)()
        for number, *texts in self._rows():
            if is_selected(number):
                selected._add(number, *texts)
        return selected

    def _rows(self) -> Iterator[tuple[int, str, str]]:
        return zip(self._numbers, self._folders, self._names, strict=True)

    def paths(self) -> Iterator[Location]:
        """Yield the paths."""
        return (path for _, path in self)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[tuple[int, Location]]:
        return starmap(_join, self._rows())

    @overload
    def __getitem__(self, index: int) -> tuple[int, Location]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[int, Location]]: ...

    def __getitem__(
        self, index: int | slice
    ) -> tuple[int, Location] | Sequence[tuple[int, Location]]:
        """Return an input, or a list of inputs."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return _join(self._numbers[index], self._folders[index], self._names[index])


def _join(number: int, folder: str, name: str) -> tuple[int, Location]:
    return number, location(folder + name)
