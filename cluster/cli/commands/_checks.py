"""The checks of `calbatch doctor`: each yields findings, with a remedy for every problem."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from calbatch import __version__
from calbatch.cluster.display.quantities import megabytes
from calbatch.cluster.driver.room import ROOM_LEFT
from calbatch.cluster.errors import RequestError, is_expected
from calbatch.cluster.folder import registry, state_of
from calbatch.cluster.planning.inputs import parse_place
from calbatch.models.errors import format_count
from calbatch.models.storage.location import Url

OK, WARNING, WRONG = "ok", "warning", "wrong"

LITTLE_SPACE = 2_000_000_000
"""Free bytes on a disk below which there is a warning: a few exposures with all products."""

_SLURM_PACKAGES = ("dask_jobqueue", "cryptography")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of a check.

    Attributes
    ----------
    check : str
        The subject.
    state : {"ok", "warning", "wrong"}
        ``wrong`` if batches cannot run; ``warning`` if they can, but with a disadvantage.
    text : str
        Description of the finding.
    advice : str
        The remedy, such as a command to type; empty if there is no problem.
    """

    check: str
    state: str
    text: str
    advice: str = ""


Check = Callable[[str], Iterator[Finding]]


def check_installation(output: str) -> Iterator[Finding]:
    """Check that all required packages are installed, in supported releases."""
    python = ".".join(map(str, sys.version_info[:3]))
    where = Path(__file__).resolve().parents[3]
    text = f"calbatch {__version__} in {where}, Python {python}"
    problems = list(_find_unmet_requirements())
    if problems:
        advice = f"{sys.executable} -m pip install --upgrade calbatch"
        text = f"{text}: {'; '.join(problems)}"
        yield Finding(check="installation", state=WRONG, text=text, advice=advice)
    else:
        yield Finding(check="installation", state=OK, text=text)


def _find_unmet_requirements() -> Iterator[str]:
    """Yield the packages that are missing or of an unsupported release."""
    try:
        from packaging.requirements import Requirement  # comes with distributed

        declared = [Requirement(line) for line in requires("calbatch") or ()]
    except (ImportError, PackageNotFoundError) as error:
        yield f"the metadata of its installation cannot be read: {error}"
        return
    for each in declared:
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(each.name)
        except PackageNotFoundError:
            yield f"{each.name} is not installed"
            continue
        if not each.specifier.contains(found, prereleases=True):
            yield f"{each.name} is {found}, and must be {each.specifier}"


def check_kernels(output: str) -> Iterator[Finding]:
    """Check that compiled kernels are kept from one batch to the next."""
    from calbatch.models.jit import kernel_folder
    from calbatch.models.temporary import is_process_folder

    folder = kernel_folder()
    if is_process_folder(folder.parent, "kernels"):  # the user's folder cannot be used
        yield Finding(
            check="kernels",
            state=WARNING,
            text="compiled again for each batch: the folder that should store them cannot be used",
            advice="export NUMBA_CACHE_DIR=DIR, a folder that only you can write to",
        )
        return
    count = len(list(folder.glob("compiled-*")))
    text = (
        f"compiled for {format_count(count, 'kind of exposure', 'kinds of exposures')}, in {folder}"
        if count
        else f"not compiled yet: the first batch takes a minute or two longer; folder {folder}"
    )
    yield Finding(check="kernels", state=OK, text=text)


def check_references(output: str) -> Iterator[Finding]:
    """Check that there is a cache of reference files, and a context."""
    from calbatch.crds_client import Client, listing
    from calbatch.crds_client.errors import CrdsError

    try:
        details = listing.describe_client(Client())
    except CrdsError as error:
        yield Finding(check="cache", state=WRONG, text=str(error), advice=_advise_on_cache())
        return
    files = f"{format_count(details['files'], 'file')}, {megabytes(details['bytes'])}"
    server = details["server"] or "none, so only files of the cache are used"
    text = f"{details['cache']}: {files}; mode {details['mode']}, server {server}"
    fetches = bool(details["server"]) and details["mode"] != "local"
    if fetches and details["read_only"]:
        advice = "export CALBATCH_CRDS_OVERLAY=DIR, a folder of your own for missing files"
        text += "; the cache is read-only, so nothing can be fetched"
        yield Finding(check="cache", state=WARNING, text=text, advice=advice)
    else:
        yield Finding(check="cache", state=OK, text=text)
    text = f"{details['context']}: {details['context_reason']}"
    yield Finding(check="context", state=OK, text=text)


def _advise_on_cache() -> str:
    """Return the commands that create a reference cache; empty if there is one already."""
    chosen = os.environ.get("CRDS_PATH")
    if chosen and Path(chosen).is_dir():
        return ""
    folder = shlex.quote(chosen) if chosen else "~/crds_cache"
    server = os.environ.get("CRDS_SERVER_URL") or "https://jwst-crds.stsci.edu"
    return f"mkdir -p {folder}; export CRDS_PATH={folder} CRDS_SERVER_URL={shlex.quote(server)}"


def check_sites(output: str) -> Iterator[Finding]:
    """Check the configured sites, and Slurm if it is used or installed."""
    import dask

    from calbatch.cluster.sites.named_sites import sites_by_name

    try:
        sites = sites_by_name()
    except RequestError as error:
        advice = f"correct the files *.yaml in one of {', '.join(dask.config.paths)}"
        yield Finding(check="sites", state=WRONG, text=str(error), advice=advice)
        return
    text = ", ".join(f"{site.name} ({site.kind})" for site in sites.values())
    yield Finding(check="sites", state=OK, text=text)
    names = [site.name for site in sites.values() if site.kind == "slurm"]
    if names or shutil.which("sbatch"):
        yield _check_slurm(names)


def _check_slurm(sites: list[str]) -> Finding:
    """Check that Slurm answers here; if no site uses it, a failure is only a warning."""
    from calbatch.cluster.sites.slurm.commands import run_slurm

    state = WRONG if sites else WARNING
    needed = f"needed by the site {', '.join(sites)}" if sites else "no site uses it"
    missing = [name for name in _SLURM_PACKAGES if find_spec(name) is None]
    if missing:
        text = f"{', '.join(missing)}: not installed; {needed}"
        advice = f"{sys.executable} -m pip install 'calbatch[slurm]'"
        return Finding(check="slurm", state=state, text=text, advice=advice)
    try:
        partitions = run_slurm("sinfo", "--noheader", "--format=%P %a").splitlines()
    except RequestError as error:
        advice = "run calbatch where `sinfo` and `sbatch` work, such as a login node"
        return Finding(check="slurm", state=state, text=f"{error}; {needed}", advice=advice)
    text = f"{format_count(len(partitions), 'partition')}: {', '.join(partitions)}; {needed}"
    return Finding(check="slurm", state=OK, text=text)


def check_dashboard(output: str) -> Iterator[Finding]:
    """Check that dask's dashboard can be shown, and opened from a notebook server."""
    missing = "bokeh" if find_spec("bokeh") is None else ""
    if os.environ.get("JUPYTERHUB_SERVICE_PREFIX") and find_spec("jupyter_server_proxy") is None:
        missing = missing or "jupyter-server-proxy"
    if missing:
        text = f"{missing} is not installed: the address that batches print does not open"
        advice = f"{sys.executable} -m pip install {missing}"
        yield Finding(check="dashboard", state=WARNING, text=text, advice=advice)
        return
    text = "served on 127.0.0.1 while a batch runs; from elsewhere, forward its port with `ssh -L`"
    if os.environ.get("JUPYTERHUB_SERVICE_PREFIX"):
        text = "served through the notebook server while a batch runs"
    yield Finding(check="dashboard", state=OK, text=text)


def check_output(output: str) -> Iterator[Finding]:
    """Check that products can be written, and that there is enough space."""
    place = parse_place(output)
    if isinstance(place, Url):
        yield Finding(check="output", state=OK, text=f"{place}: not checked, since it is remote")
    else:
        yield _check_disk("output", place, "name another folder with --output")


def check_records(output: str) -> Iterator[Finding]:
    """Check that the records of batches can be written, and that there is enough space."""
    from calbatch.models.private import make_private_folder

    make_private_folder(registry(), "export CALBATCH_STATE_DIR=DIR")
    yield _check_disk("records", registry(), "export CALBATCH_STATE_DIR=DIR")


def check_temporary(output: str) -> Iterator[Finding]:
    """Check that temporary files can be written, and that there is enough space."""
    import dask

    folder = dask.config.get("temporary-directory", None) or tempfile.gettempdir()
    yield _check_disk("temporary", Path(folder).absolute(), "export TMPDIR=DIR")


def _check_disk(check: str, folder: Path, advice: str) -> Finding:
    """Check that a folder, or its nearest existing parent, is writable and has enough space."""
    existing = next(each for each in (folder, *folder.parents) if _exists(each))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Finding(check=check, state=WRONG, text=f"cannot write to {existing}", advice=advice)
    free = shutil.disk_usage(existing).free
    text = f"{folder}: {megabytes(free)} free"
    if free >= LITTLE_SPACE:
        return Finding(check=check, state=OK, text=text)
    state = WRONG if free < ROOM_LEFT else WARNING
    return Finding(check=check, state=state, text=text, advice=f"make space, or {advice}")


def _exists(path: Path) -> bool:
    """Return whether there is a file or folder that this user can see."""
    try:
        return path.exists()
    except PermissionError:
        return False


def check_ledger(output: str) -> Iterator[Finding]:
    """Check that the ledger of the output folder is intact, if there is one."""
    from calbatch.cluster.ledger import DamagedLedgerError, LedgerError, View
    from calbatch.cluster.ledger.store import NAME

    place = parse_place(output)
    if isinstance(place, Url):
        return
    path = state_of(place) / NAME
    try:
        with View(path.parent) as view:
            problems = view.problems()
            count = format_count(len(view.batches()), "batch", "batches")
    except DamagedLedgerError as error:
        problems, count = [str(error)], ""
    except LedgerError as error:
        if not isinstance(error.__cause__, PermissionError) and not os.path.lexists(path):
            return
        advice = "choose another folder with --output"
        yield Finding(check="ledger", state=WRONG, text=str(error), advice=advice)
        return
    if problems:
        advice = f"calbatch rebuild {shlex.quote(str(place))}"
        yield Finding(check="ledger", state=WRONG, text="; ".join(problems), advice=advice)
    else:
        yield Finding(check="ledger", state=OK, text=f"{path}: {count}, intact")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("installation", check_installation),
    ("kernels", check_kernels),
    ("cache", check_references),
    ("sites", check_sites),
    ("dashboard", check_dashboard),
    ("output", check_output),
    ("ledger", check_ledger),
    ("records", check_records),
    ("temporary", check_temporary),
)
"""The checks by subject, in the order in which a new user encounters their problems."""


def find_problems(output: str) -> Iterator[Finding]:
    """Yield the findings of all checks; a check that fails is a finding, too.

    Parameters
    ----------
    output : str
        The output folder of the batches to come.
    """
    for subject, check in CHECKS:
        try:
            yield from check(output)
        except Exception as error:  # the other checks must still run
            text = str(error) if is_expected(error) else f"{type(error).__name__}: {error}"
            yield Finding(check=subject, state=WRONG, text=text)
