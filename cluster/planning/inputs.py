"""Finding the input files of a batch, and checking the output folder."""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from calbatch.calibrate.suffixes import product_name, strip_extension
from calbatch.cluster.errors import RequestError
from calbatch.models.errors import FileError
from calbatch.models.private import create_file
from calbatch.models.storage.listing import is_match, list_objects, require_writable, total_size
from calbatch.models.storage.location import Location, Url, location

_NUMBER = re.compile(r"\d+")


def find_exposures(
    requested: Sequence[str], *patterns: str, recursive: bool = False
) -> list[Location]:
    """Return the input files of a request, in natural order and each once.

    Parameters
    ----------
    requested : sequence of str
        Files, folders and globs, also as URLs. A folder stands for those of its files that match
        a pattern. A file given by name is always an input; if it cannot be opened, only that
        exposure fails.
    *patterns : str
        File name patterns, such as ``*_uncal.fits``; see
        `calbatch.models.storage.listing.is_match`.
    recursive : bool
        True to include the files of subfolders.

    Returns
    -------
    list of Path or Url
        Absolute paths, since workers may have another working folder.

    Raises
    ------
    RequestError
        If a requested file or folder does not exist, contains no exposures or has a name that is
        not UTF-8, or when the server of a URL fails.
    """
    exposures: dict[Location, None] = {}
    for request in requested:
        try:
            paths = [
                p.absolute()
                for pattern in patterns
                for p in _find_matching(location(request), pattern, recursive=recursive)
            ]
        except FileError as error:
            raise RequestError(f"no exposures: {error}") from error
        except OSError as error:
            raise RequestError(f"no exposures: {request}: {error.strerror or error}") from error
        if not paths:
            raise RequestError(
                f"no exposures: {_explain_no_match(request, patterns[0], recursive=recursive)}"
            )
        for path in paths:
            _require_text(path)
        exposures.update(dict.fromkeys(sorted(paths, key=natural_key)))
    return list(exposures)


def _require_text(path: Location) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode("ascii", "backslashreplace").decode()
        raise RequestError(
            f"{shown}: the name is not UTF-8, so the ledger cannot store it: rename the file"
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
    """Yield the files of a folder that match a pattern.

    Hidden folders, such as the ledger's, and symbolic links to folders are not searched.
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
    message = (
        f"the folder {request} has no files {pattern}"
        if local
        else (f"{request} has no objects {pattern}")
    )
    below = () if recursive else _find_matching(place, pattern, recursive=True)
    if any(True for _ in below):
        return f"{message}, but its subfolders do: use --recursive to include them"
    return message


def natural_key(path: Location) -> str:
    """Return a sort key that compares the numbers within a path as numbers.

    It is one text, since many small objects for each path would take a kilobyte. Before each number
    are a character that sorts before all others, and one that stands for the number of digits.
    """
    return _NUMBER.sub(_number_key, str(path))


def _number_key(found: re.Match[str]) -> str:
    digits = str(int(found[0]))
    return f"\0{chr(len(digits))}{digits}"


def refuse_name_clashes(inputs: Sequence[Location]) -> None:
    """Raise an error if the products of two inputs would have the same name.

    Raises
    ------
    RequestError
        If names clash; the message names both inputs.
    """
    owners: dict[str, Location] = {}
    for path in inputs:
        stem = product_name(path.name, "*")
        if stem in owners:
            raise RequestError(
                f"the products of {owners[stem]} and {path} would both be {stem}: "
                f"{_remedy(owners[stem], path)}"
            )
        owners[stem] = path


def _remedy(first: Location, second: Location) -> str:
    """Return advice for two inputs whose products would have the same name."""
    if first.parent == second.parent and strip_extension(first.name) == strip_extension(
        second.name
    ):
        return "they seem to be one exposure, compressed and uncompressed: name one of the files"
    return "calibrate them in two batches with different output folders"


def total_bytes(inputs: Iterable[Location]) -> int:
    """Return the total size of the inputs in bytes; files that cannot be examined count as 0."""
    total, urls = 0, list[Url]()
    for path in inputs:
        if isinstance(path, Url):
            urls.append(path)
            continue
        with suppress(OSError):  # reported when it is opened
            total += path.stat().st_size
    return total + total_size(urls)


def parse_place(folder: str | Location) -> Location:
    """Return a requested folder as an absolute path or a URL.

    Raises
    ------
    RequestError
        If it is an invalid or unsupported URL.
    """
    try:
        place = location(folder)
    except FileError as error:
        raise RequestError(str(error)) from error
    return place.expanduser().absolute() if isinstance(place, Path) else place


def require_writable_place(folder: str | Location) -> Location:
    """Return the output folder or URL, after checking that it is writable.

    Raises
    ------
    RequestError
        If it is not writable.
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
    """Return the output folder, created if necessary, after checking that it is writable.

    Raises
    ------
    RequestError
        If it cannot be created or written to.
    """
    folder = folder.expanduser().absolute()
    probe = (
        folder / f".calbatch-{secrets.token_hex(8)}.part"
    )  # unpredictable, since others may write there
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_file(probe)
        probe.unlink()
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder
