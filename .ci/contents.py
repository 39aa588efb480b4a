"""Check that the built distributions contain every module and schema of the checkout.

Usage: contents.py CHECKOUT DIST
"""

import sys
import tarfile
import zipfile
from pathlib import Path

FOLDERS = ("models", "crds_client", "calibrate", "cluster")


def required_files(checkout: Path) -> set[str]:
    """Return the package's files as paths relative to ``calbatch``."""
    found = {
        str(path.relative_to(checkout))
        for folder in FOLDERS
        for path in (checkout / folder).rglob("*")
        if path.suffix in (".py", ".yaml") and "__pycache__" not in path.parts
    }
    own = {path.name for path in (checkout / "src" / "calbatch").iterdir() if path.is_file()}
    return own | found


def main() -> int:
    """Compare both distributions with the checkout; return the exit status."""
    checkout, dist = Path(sys.argv[1]), Path(sys.argv[2])
    [wheel], [sdist] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        held = {wheel.name: set(archive.namelist())}
    with tarfile.open(sdist) as archive:
        files = (m.name for m in archive.getmembers() if m.isfile())
        held[sdist.name] = {name.partition("/src/")[2] for name in files}
    status = 0
    for name, files in held.items():
        missing = sorted(p for p in required_files(checkout) if f"calbatch/{p}" not in files)
        print(
            f"{name}: {len(missing)} of {len(required_files(checkout))} files are missing", *missing
        )
        status |= bool(missing)
    return status


if __name__ == "__main__":
    sys.exit(main())
