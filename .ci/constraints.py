"""Write constraints.txt: one tested release of every dependency of calbatch's extras.

Usage:
    python .ci/constraints.py            resolve the newest releases, and write the file
    python .ci/constraints.py --check    compare the file with pyproject.toml
    python .ci/constraints.py --behind   list installed releases that differ from the file

Needs pip and packaging. Releases are resolved for each supported Python; where they differ, the
file has markers. Run the tests with the new file before committing it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "constraints.txt"
PYTHONS = ("3.11", "3.12", "3.13")
"""The supported releases of Python."""

HEADER = """\
# One release of every dependency of calbatch, its tests and its tools. The tests pass with these
# on Python {tested}. Written by `python .ci/constraints.py`; do not edit.
"""

Pins = dict[str, str]


def project() -> dict:
    """Return the table ``project`` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(extra: str = "dev") -> list[Requirement]:
    """Return the requirements of an extra, with our own extras expanded."""
    table = project()
    found = [Requirement(text) for text in table["dependencies"]]
    waiting = [extra]
    while waiting:
        for text in table["optional-dependencies"][waiting.pop()]:
            wanted = Requirement(text)
            if wanted.name == table["name"]:
                waiting.extend(wanted.extras)
            else:
                found.append(wanted)
    return found


def environment(python: str) -> dict[str, str]:
    """Return the marker environment of a release of Python."""
    return {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}


def resolve(python: str) -> Pins:
    """Return the newest compatible releases on a release of Python."""
    texts = [str(wanted) for wanted in requirements()]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "-qq", "--dry-run"]
        command += ["--ignore-installed", f"--report={report}", f"--target={folder}/none"]
        command += [f"--python-version={python}", "--only-binary=:all:", *texts]
        subprocess.run(command, check=True)
        installs = json.loads(report.read_text())["install"]
    pairs = ((item["metadata"]["name"], item["metadata"]["version"]) for item in installs)
    return {canonicalize_name(name): version for name, version in pairs}


def lines(pins: dict[str, Pins]) -> Iterator[str]:
    """Yield the file's lines from the releases for each Python, oldest first."""
    for name in sorted({name for each in pins.values() for name in each}):
        versions: dict[str, list[str]] = {}
        for python, each in pins.items():
            if name in each:
                versions.setdefault(each[name], []).append(python)
        if len(versions) == 1:
            yield f"{name}=={next(iter(versions))}"
            continue
        for version, pythons in versions.items():
            markers = [f'python_version == "{python}"' for python in pythons]
            if PYTHONS[-1] in pythons:  # and later ones
                markers[-1] = f'python_version >= "{PYTHONS[-1]}"'
            yield f"{name}=={version} ; {' or '.join(markers)}"


def write() -> None:
    """Resolve for each Python and write the file."""
    pins = {python: resolve(python) for python in PYTHONS}
    tested = ".".join(map(str, sys.version_info[:2]))
    FILE.write_text(HEADER.format(tested=tested) + "\n".join(lines(pins)) + "\n")


def read_pins(python: str) -> Pins:
    """Return the releases that the file lists for a Python."""
    found = {}
    for line in FILE.read_text().splitlines():
        if line and not line.startswith("#"):
            constraint = Requirement(line)
            if constraint.marker is None or constraint.marker.evaluate(environment(python)):
                [only] = constraint.specifier
                found[canonicalize_name(constraint.name)] = only.version
    return found


def unsatisfied_requirements() -> list[str]:
    """Return the requirements of pyproject.toml that the file does not satisfy, on any Python."""
    found = []
    for python in PYTHONS:
        pins = read_pins(python)
        for wanted in requirements():
            if wanted.marker is not None and not wanted.marker.evaluate(environment(python)):
                continue
            version = pins.get(canonicalize_name(wanted.name))
            if version is None or not wanted.specifier.contains(version, prereleases=True):
                found.append(f"Python {python}: {wanted}: the file has {version or 'none'}")
    return found


def installed_releases() -> Pins:
    """Return the installed releases of all dependencies of calbatch's extras."""
    found: Pins = {}
    waiting = [(r, frozenset[str]()) for r in requirements()]
    seen = set()
    while waiting:
        wanted, extras = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        needed = wanted.marker is None or any(
            wanted.marker.evaluate({"extra": extra}) for extra in extras or {""}
        )
        if key in seen or not needed:
            continue
        seen.add(key)
        try:
            held = distribution(wanted.name)
        except PackageNotFoundError:  # belongs to an extra that is not installed
            continue
        found[key[0]] = held.version
        waiting += [(Requirement(text), key[1] | {""}) for text in held.requires or ()]
    return found


def differences() -> list[str]:
    """Return the installed releases that differ from the file."""
    pins = read_pins(".".join(map(str, sys.version_info[:2])))
    return [
        f"{name} {version}: the file has {pins.get(name, 'none')}"
        for name, version in sorted(installed_releases().items())
        if pins.get(name) != version
    ]


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="compare with pyproject.toml")
    group.add_argument("--behind", action="store_true", help="compare with the installed releases")
    asked = parser.parse_args()
    if not (asked.check or asked.behind):
        write()
        return 0
    found = unsatisfied_requirements() if asked.check else differences()
    print(*found, sep="\n", end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
