"""Sites by name, from dask's configuration files.

>>> import dask
>>> with dask.config.set({"calbatch.sites": {"big": {"kind": "slurm", "jobs": 20}}}):
...     found = named_sites()
>>> found["big"].options.jobs
20
>>> overridden(found["big"], {"jobs": "4"}).options.jobs
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
from calbatch.cluster.sites.options import (
    KINDS,
    AddressOptions,
    ClusterOptions,
    LocalOptions,
    Options,
    SlurmOptions,
)

if TYPE_CHECKING:
    from rich.table import Table

    from calbatch.cluster.sites.scheduler import OnCluster

SECTION = "calbatch.sites"
"""Where dask's configuration has them."""

NEEDED = {"address": "address", "cluster": "path"}
"""Options without which a kind is nothing."""

_NAME = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
_SECRET = re.compile(r"passw|token|secret|key|auth", re.IGNORECASE)
_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_TRUTH |= {"false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class NamedSite:
    """A site, and what is said about it.

    Attributes
    ----------
    name : str
        What users call it.
    kind : {"local", "slurm", "address", "cluster"}
        What it is.
    options : LocalOptions, SlurmOptions, AddressOptions or ClusterOptions
        All options of its kind, given or by default.
    given : frozenset of str
        Those that were given.
    """

    name: str
    kind: str
    options: Options
    given: frozenset[str] = frozenset()


def named_sites() -> dict[str, NamedSite]:
    """Return the sites of dask's configuration by name, and ``local``, which is always there.

    Raises
    ------
    RequestError
        When the configuration has what cannot be.
    """
    import dask

    section = dask.config.get(SECTION, None) or {}
    if not isinstance(section, Mapping):
        raise RequestError(f"{SECTION} in dask's configuration: must have a name for each site")
    sites = {"local": NamedSite("local", "local", LocalOptions())}
    return sites | {str(name): _read(str(name), said) for name, said in section.items()}


def site_named(name: str) -> NamedSite:
    """Return a site by its name.

    Raises
    ------
    RequestError
        When there is none of this name, or the configuration has what cannot be.
    """
    sites = named_sites()
    if name not in sites:
        raise RequestError(
            f"site {name!r}: unknown{_nearest(name, sites)}; {SECTION} in dask's configuration "
            "has them"
        )
    return sites[name]


def overridden(site: NamedSite, pairs: Mapping[str, str]) -> NamedSite:
    """Return a site with some options changed, as on a command line.

    Parameters
    ----------
    site : NamedSite
        The site.
    pairs : mapping of str to str
        Options and their values, as text. An empty one, or ``none``, is no value.

    Raises
    ------
    RequestError
        When there is no such option, or its value cannot be.
    """
    if "kind" in pairs:
        raise RequestError(f"site {site.name}: its kind is {site.kind}, and cannot be changed")
    known = _types(type(site.options))
    changed = {}
    for name, text in _normal(pairs).items():
        _require(site.name, site.kind, name, known)
        changed[name] = _from_text(f"site {site.name}: {name}", known[name], text)
    options = replace(site.options, **changed)
    return _whole(replace(site, options=options, given=site.given | set(changed)))


def opened(site: NamedSite, grain: str, batch: str = "") -> AbstractContextManager[OnCluster]:
    """Return a site as a context that gives a scheduler.

    Parameters
    ----------
    site : NamedSite
        The site.
    grain : {"exposure", "tile"}
        What a task is.
    batch : str
        The batch's name, where it is for one.

    Raises
    ------
    RequestError
        On entering, when it is not to be had.
    """
    options = site.options
    if isinstance(options, SlurmOptions):
        from calbatch.cluster.sites.slurm.site import slurm_cluster

        return slurm_cluster(options, grain, batch)
    if isinstance(options, AddressOptions):
        from calbatch.cluster.sites.remote import existing

        return existing(options.address, grain, insecure=options.insecure)
    if isinstance(options, ClusterOptions):
        from calbatch.cluster.sites.custom import any_cluster

        return any_cluster(options, grain)
    from calbatch.cluster.sites.local import affordable, local_cluster

    return local_cluster(options.workers or affordable(), grain)


def described(sites: Iterable[NamedSite]) -> Table:
    """Return a table of sites with all their options; what was given stands out.

    Values that look like secrets are not shown.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table("site", "kind", "option", "value", "what it is", box=None, pad_edge=False)
    for site in sites:
        label = site.name, site.kind
        for each in fields(site.options):
            style = "bold" if each.name in site.given else "dim"
            value = as_text(each.name, getattr(site.options, each.name))
            what = each.metadata["help"]
            table.add_row(
                *(Text(text, style="bold") for text in label),
                *(Text(text, style=style) for text in (each.name, value, what)),
            )
            label = "", ""
    return table


def _read(name: str, said: Any) -> NamedSite:
    if not _NAME.fullmatch(name):
        raise RequestError(f"site {name!r}: a name must be of letters, digits and . _ -")
    if not isinstance(said, Mapping):
        raise RequestError(f"site {name}: must have a kind and options, not {said!r}")
    values = _normal(said)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        what = "needs a kind" if kind is None else f"kind {kind!r}: unknown{_nearest(kind, KINDS)}"
        raise RequestError(f"site {name}: {what}; kinds are {', '.join(KINDS)}")
    known = _types(KINDS[kind])
    for option, value in values.items():
        _require(name, kind, option, known)
        values[option] = _from_file(f"site {name}: {option}", known[option], value)
    return _whole(NamedSite(name, kind, KINDS[kind](**values), frozenset(values)))


def _whole(site: NamedSite) -> NamedSite:
    needed = NEEDED.get(site.kind)
    if needed and not getattr(site.options, needed):
        raise RequestError(f"site {site.name}: a site of kind {site.kind} needs {needed!r}")
    return site


def _normal(said: Mapping[Any, Any]) -> dict[str, Any]:
    """Return options with underscores: dask takes hyphens for the same."""
    return {str(name).replace("-", "_"): value for name, value in said.items()}


def _types(kind: type[Options]) -> dict[str, Any]:
    return get_type_hints(kind)


def _require(site: str, kind: str, option: str, known: Mapping[str, Any]) -> None:
    if option not in known:
        raise RequestError(
            f"site {site}: {kind} has no option {option!r}{_nearest(option, known)}; it has "
            f"{', '.join(known)}"
        )


def _nearest(name: Any, known: Iterable[str]) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _split(wanted: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it may be None."""
    kinds = get_args(wanted)
    if NoneType in kinds:
        return next(kind for kind in kinds if kind is not NoneType), True
    return wanted, False


def _wrong(what: str, wanted: str, found: Any) -> RequestError:
    return RequestError(f"{what}: must be {wanted}, not {found!r}")


def _from_file(what: str, wanted: Any, value: Any) -> Any:
    """Return a value of a configuration file as an option has it."""
    kind, optional = _split(wanted)
    if value is None and optional:
        return None
    if kind is bool or kind is int or kind is float:
        return _number_from_file(what, kind, value)
    if kind is str:
        if not isinstance(value, str):
            raise _wrong(what, "text, in quotes where YAML takes it for a number", value)
        return value
    if kind == tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise _wrong(what, "a list of texts", value)
        return tuple(value)
    if not isinstance(value, Mapping):
        raise _wrong(what, "a mapping", value)
    return dict(value)


def _number_from_file(what: str, kind: type, value: Any) -> Any:
    if kind is bool and not isinstance(value, bool):
        raise _wrong(what, "true or false", value)
    if kind is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise _wrong(what, "a whole number", value)
    if kind is float and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise _wrong(what, "a number", value)
    return kind(value)


def _from_text(what: str, wanted: Any, text: str) -> Any:
    """Return a text of a command line as an option has it."""
    kind, optional = _split(wanted)
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
        raise _wrong(what, name, text) from None


def _mapping(text: str) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(text)
    except Exception as error:  # values that do not fit their tag raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise TypeError(f"{text!r} is no mapping")
    return found


def as_text(name: str, value: Any) -> str:
    """Return an option's value as it could be given on a command line; secrets as stars."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={as_text(str(key), each)}" for key, each in value.items())
    if value is None:
        return "-"
    if _SECRET.search(name):
        return "***"
    if isinstance(value, tuple):
        return " ".join(shlex.quote(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)[1:-1] if isinstance(value, str) else str(value)
