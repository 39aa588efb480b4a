"""Finding the exposures of a batch, and the place for its products."""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from calbatch.calibrate.suffixes import product_name, strip_extension
from calbatch.cluster.errors import RequestError
from calbatch.models.errors import FileError
from calbatch.models.private import create_file
from calbatch.models.storage.listing import is_match, list_objects, require_writable, total_size
from calbatch.models.storage.location import Location, Url, location


def find_exposures(
    requested: Sequence[str], pattern: str, *, recursive: bool = False
) -> list[Location]:
    """Return the input files of a request, in natural order and each once.

    Parameters
    ----------
    requested : sequence of str
        Files, folders and globs, also as URLs. A folder stands for its files that ``pattern``
        means (`calbatch.models.storage.listing.is_match`); a file given by name is an input
        whatever its name or content: what is wrong with it is found when it is opened, and fails
        only itself.
    pattern : str
        Such as ``*_uncal.fits``.
    recursive : bool
        Whether a folder stands for the files of all folders in it, too.

    Returns
    -------
    list of Path or Url
        Absolute, for workers that have another working folder.

    Raises
    ------
    RequestError
        When something requested does not exist or holds no exposures, has a name that is no text,
        or a URL's server fails.
    """
    found: dict[Location, None] = {}
    for request in requested:
        try:
            paths = [
                p.absolute()
                for p in _find_matching(location(request), pattern, recursive=recursive)
            ]
        except FileError as error:
            raise RequestError(f"no exposures: {error}") from error
        except OSError as error:
            raise RequestError(f"no exposures: {request}: {error.strerror or error}") from error
        if not paths:
            raise RequestError(
                f"no exposures: {_explain_no_match(request, pattern, recursive=recursive)}"
            )
        for path in paths:
            _require_text(path)
        found.update(dict.fromkeys(sorted(paths, key=natural_key)))
    return list(found)


def _require_text(path: Location) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode("ascii", "backslashreplace").decode()
        raise RequestError(
            f"{shown}: its name is not UTF-8, and no ledger could keep it: rename it"
        ) from error


def _find_matching(request: Location, pattern: str, *, recursive: bool) -> Iterable[Location]:
    if isinstance(request, Url):
        return list_objects(request, pattern, recursive=recursive)
    path = request.expanduser()
    if path.is_dir():
        return files_in(path, pattern, recursive=recursive)
    if path.exists() or path.is_symlink():
        return [path]
    return (Path(p) for p in glob.glob(str(path)))  # noqa: PTH207 - absolute patterns too


def files_in(folder: Path, pattern: str, *, recursive: bool = False) -> Iterator[Path]:
    """Yield the files of a folder that a pattern means; see `exposures`.

    Hidden folders, such as that of a batch's records, and links to folders are not gone into.
    """
    if not recursive:
        yield from (p for p in folder.iterdir() if is_match(p.name, pattern) and not p.is_dir())
        return
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if is_match(name, pattern))


def _explain_no_match(request: str, pattern: str, *, recursive: bool) -> str:
    place = location(request)
    if glob.has_magic(request):
        return f"nothing matches {request}"
    local = isinstance(place, Path)
    if isinstance(place, Path) and not place.expanduser().is_dir():
        return f"there is no file or folder {request}"
    what = (
        f"the folder {request} has no files {pattern}"
        if local
        else (f"{request} has no objects {pattern}")
    )
    below = () if recursive else _find_matching(place, pattern, recursive=True)
    if any(True for _ in below):
        return f"{what}, but folders in it have some: --recursive takes those"
    return what


def natural_key(path: Location) -> list[tuple[int, int | str]]:
    """Return a sorting key in which numbers within names count as numbers."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def refuse_name_clashes(inputs: Sequence[Location]) -> None:
    """Refuse inputs whose products would have one name.

    Raises
    ------
    RequestError
        Naming both inputs.
    """
    owners: dict[str, Location] = {}
    for path in inputs:
        stem = product_name(path.name, "*")
        if stem in owners:
            raise RequestError(
                f"{owners[stem]} and {path} would both become {stem}: {_remedy(owners[stem], path)}"
            )
        owners[stem] = path


def _remedy(first: Location, second: Location) -> str:
    """Return what to do about two inputs whose products would have one name."""
    if first.parent == second.parent and strip_extension(first.name) == strip_extension(
        second.name
    ):
        return "they seem to be one exposure, compressed and not: give one of them by its name"
    return "calibrate them one after the other, into different folders"


def total_bytes(inputs: Sequence[Location]) -> int:
    """Return how large the inputs are together; a file that cannot be looked at counts nothing."""
    total = total_size(path for path in inputs if isinstance(path, Url))
    for path in inputs:
        try:
            total += path.stat().st_size if isinstance(path, Path) else 0
        except OSError:  # told when it is opened
            continue
    return total


def parse_place(folder: str | Location) -> Location:
    """Return where products go, an absolute path or a URL, as it was requested.

    Raises
    ------
    RequestError
        When it is a URL that cannot be taken.
    """
    try:
        place = location(folder)
    except FileError as error:
        raise RequestError(str(error)) from error
    return place.expanduser().absolute() if isinstance(place, Path) else place


def require_writable_place(folder: str | Location) -> Location:
    """Return where products go, a folder or a URL, after trying that it can be written to.

    Raises
    ------
    RequestError
        When it cannot.
    """
    try:
        place = location(folder)
        if isinstance(place, Url):
            require_writable(place)
            return place
    except FileError as error:
        raise RequestError(f"cannot write to {error}") from error
    return require_writable_folder(place)


def require_writable_folder(folder: Path) -> Path:
    """Return an output folder, made if need be, that can be written to.

    Raises
    ------
    RequestError
        When it cannot be made or written to.
    """
    folder = folder.expanduser().absolute()
    probe = folder / f".calbatch-{secrets.token_hex(8)}.part"  # others may write there, too
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_file(probe)
        probe.unlink()
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder
