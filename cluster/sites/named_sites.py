"""Sites by name, from dask's configuration files.

>>> import dask
>>> with dask.config.set({"calbatch.sites": {"big": {"kind": "slurm", "jobs": 20}}}):
...     sites = sites_by_name()
>>> sites["big"].options.jobs
20
>>> override_options(sites["big"], {"jobs": "4"}).options.jobs
4
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.kinds import find_kind, kind_names
from calbatch.cluster.sites.options import LocalOptions

if TYPE_CHECKING:
    from rich.table import Table

    from calbatch.cluster.sites.site import Site

SECTION = "calbatch.sites"
"""The section of dask's configuration that defines sites."""

_NAME = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
_SECRET = re.compile(r"passw|token|secret|key|auth", re.IGNORECASE)
_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_TRUTH |= {"false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class NamedSite:
    """A configured site.

    Attributes
    ----------
    name : str
        The user's name for it.
    kind : str
        Its kind, such as ``slurm``; see `calbatch.cluster.sites.kinds`.
    options : dataclass
        All options of its kind, given or by default.
    given : frozenset of str
        Names of the options that were given.
    """

    name: str
    kind: str
    options: Any
    given: frozenset[str] = frozenset()


def sites_by_name() -> dict[str, NamedSite]:
    """Return the sites of dask's configuration by name, and ``local``, which always exists.

    Raises
    ------
    RequestError
        If the configuration is wrong.
    """
    import dask

    section = dask.config.get(SECTION, None) or {}
    if not isinstance(section, Mapping):
        raise RequestError(f"{SECTION} in dask's configuration: must have a name for each site")
    sites = {"local": NamedSite("local", "local", LocalOptions())}
    return sites | {str(name): _read(str(name), entry) for name, entry in section.items()}


def find_site(name: str) -> NamedSite:
    """Return a site by its name.

    Raises
    ------
    RequestError
        If there is none of this name, or the configuration is wrong.
    """
    sites = sites_by_name()
    if name not in sites:
        raise RequestError(
            f"site {name!r}: unknown{_nearest(name, sites)}; sites are defined under {SECTION} in "
            "dask's configuration"
        )
    return sites[name]


def override_options(site: NamedSite, pairs: Mapping[str, str]) -> NamedSite:
    """Return a site with some options replaced, as on the command line.

    Parameters
    ----------
    site : NamedSite
        The site.
    pairs : mapping of str to str
        Option to value, as text. An empty value, or ``none``, stands for None.

    Raises
    ------
    RequestError
        If there is no such option, or its value is wrong.
    """
    if "kind" in pairs:
        raise RequestError(f"site {site.name}: its kind is {site.kind}, and cannot be changed")
    types = get_type_hints(type(site.options))
    changed = {}
    for name, text in _with_underscores(pairs).items():
        _require_option(site.name, site.kind, name, types)
        changed[name] = _from_text(f"site {site.name}: {name}", types[name], text)
    options = replace(site.options, **changed)
    return _require_complete(replace(site, options=options, given=site.given | set(changed)))


def open_site(site: NamedSite, grain: str, batch: str = "") -> AbstractContextManager[Site]:
    """Return a context manager that opens a site.

    Parameters
    ----------
    site : NamedSite
        The site.
    grain : {"exposure", "tile"}
        Size of a task.
    batch : str
        Name of the batch that the site is opened for; empty if for several.

    Raises
    ------
    RequestError
        On entering the context, if the site cannot be opened.
    """
    return find_kind(site.kind).open(site.options, grain, batch)


def site_table(sites: Iterable[NamedSite]) -> Table:
    """Return a table of sites with all their options; options that were given are bold.

    Values that look like secrets are hidden.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table("site", "kind", "option", "value", "meaning", box=None, pad_edge=False)
    for site in sites:
        label = site.name, site.kind
        for each in fields(site.options):
            style = "bold" if each.name in site.given else "dim"
            value = option_text(each.name, getattr(site.options, each.name))
            table.add_row(
                *(Text(text, style="bold") for text in label),
                *(Text(text, style=style) for text in (each.name, value, each.metadata["help"])),
            )
            label = "", ""
    return table


def describe_site(site: NamedSite) -> dict[str, Any]:
    """Return a site with all its options for programs, with secrets as stars."""
    values = {each.name: getattr(site.options, each.name) for each in fields(site.options)}
    options = _hide_secrets("", values)
    return {"site": site.name, "kind": site.kind, "given": sorted(site.given), "options": options}


def _hide_secrets(name: str, value: Any) -> Any:
    """Return an option's value with secrets, in mappings too, as stars."""
    if isinstance(value, Mapping):
        return {str(key): _hide_secrets(str(key), each) for key, each in value.items()}
    return "***" if value is not None and _SECRET.search(name) else value


def _read(name: str, entry: Any) -> NamedSite:
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"site {name!r}: a name must start with a letter, followed by letters, digits and . _ -"
        )
    if not isinstance(entry, Mapping):
        raise RequestError(f"site {name}: must have a kind and options, not {entry!r}")
    values = _with_underscores(entry)
    kind = values.pop("kind", None)
    if kind is None:
        raise RequestError(f"site {name}: needs a kind; kinds are {', '.join(kind_names())}")
    try:
        options = find_kind(kind).options
    except RequestError as error:
        raise RequestError(f"site {name}: {error}") from error
    types = get_type_hints(options)
    for option, value in values.items():
        _require_option(name, kind, option, types)
        values[option] = _from_file(f"site {name}: {option}", types[option], value)
    return _require_complete(NamedSite(name, kind, options(**values), frozenset(values)))


def _require_complete(site: NamedSite) -> NamedSite:
    required = find_kind(site.kind).required
    if required and not getattr(site.options, required):
        raise RequestError(f"site {site.name}: a site of kind {site.kind} needs {required!r}")
    return site


def _with_underscores(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """Return options with underscores in their names, since dask treats hyphens alike."""
    return {str(name).replace("-", "_"): value for name, value in entry.items()}


def _require_option(site: str, kind: str, option: str, known: Mapping[str, Any]) -> None:
    if option not in known:
        raise RequestError(
            f"site {site}: {kind} has no option {option!r}{_nearest(option, known)}; it has "
            f"{', '.join(known)}"
        )


def _nearest(name: Any, known: Iterable[str]) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _split_optional(wanted: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether None is allowed."""
    kinds = get_args(wanted)
    if NoneType in kinds:
        return next(kind for kind in kinds if kind is not NoneType), True
    return wanted, False


def _value_error(what: str, wanted: str, value: Any) -> RequestError:
    return RequestError(f"{what}: must be {wanted}, not {value!r}")


def _from_file(what: str, wanted: Any, value: Any) -> Any:
    """Return the value of an option from a value in a configuration file."""
    kind, optional = _split_optional(wanted)
    if value is None and optional:
        return None
    if kind is bool or kind is int or kind is float:
        return _number_from_file(what, kind, value)
    if kind is str:
        if not isinstance(value, str):
            raise _value_error(what, "text, in quotes where YAML takes it for a number", value)
        return value
    if kind == tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise _value_error(what, "a list of texts", value)
        return tuple(value)
    if not isinstance(value, Mapping):
        raise _value_error(what, "a mapping", value)
    return dict(value)


def _number_from_file(what: str, kind: type, value: Any) -> Any:
    if kind is bool and not isinstance(value, bool):
        raise _value_error(what, "true or false", value)
    if kind is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise _value_error(what, "a whole number", value)
    if kind is float and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise _value_error(what, "a number", value)
    return kind(value)


def _from_text(what: str, wanted: Any, text: str) -> Any:
    """Return the value of an option from text on the command line."""
    kind, optional = _split_optional(wanted)
    if optional and text.lower() in ("", "none"):
        return None
    readers: dict[Any, tuple[Callable[[str], Any], str]] = {
        bool: (lambda t: _TRUTH[t.lower()], "true or false"),
        int: (int, "a whole number"),
        float: (float, "a number"),
        str: (str, "text"),
        tuple[str, ...]: (lambda t: tuple(shlex.split(t)), "texts with spaces between them"),
    }
    read, name = readers.get(kind, (_mapping, "a mapping, as in YAML: {colour: red}"))
    try:
        return read(text)
    except (ValueError, KeyError, TypeError):
        raise _value_error(what, name, text) from None


def _mapping(text: str) -> dict[str, Any]:
    import yaml

    try:
        mapping = yaml.safe_load(text)
    except Exception as error:  # a value that does not fit its tag may raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(mapping, dict):
        raise TypeError(f"{text!r} is not a mapping")
    return mapping


def option_text(name: str, value: Any) -> str:
    """Return an option's value as on the command line, with secrets as stars."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={option_text(str(key), each)}" for key, each in value.items())
    if value is None:
        return "-"
    if _SECRET.search(name):
        return "***"
    if isinstance(value, tuple):
        return " ".join(shlex.quote(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)[1:-1] if isinstance(value, str) else str(value)
