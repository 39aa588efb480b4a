"""Parameter references (``pars-<step>``) added to a CRDS cache, as stpipe writes them."""

import ast
import shutil
from pathlib import Path

from stpipe._config import StepConfig

from support.crds_server import write_mapping
from support.simulated import SmallExposure

PARKEY = (("META.EXPOSURE.READPATT",), ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"))


def copy_cache(exposure: SmallExposure, folder: Path) -> Path:
    """Copy the cache of a set for a test that changes it."""
    return Path(shutil.copytree(exposure.set.crds, folder))


def add_parameters(crds: Path, kind: str, files: dict[str, StepConfig]) -> dict[str, str]:
    """Add a type of parameter references.

    Parameters
    ----------
    crds : path
        A cache with one instrument.
    kind : str
        Such as ``pars-jumpstep``.
    files : dict
        READPATT of the exposures to their parameters.

    Returns
    -------
    dict
        READPATT to the name of the file.
    """
    mappings = crds / "mappings" / "jwst"
    (imap,) = mappings.glob("*.imap")
    instrument = imap.name.split("_")[1]
    names = {}
    for number, (readpatt, config) in enumerate(files.items(), 1):
        names[readpatt] = f"jwst_{instrument}_{kind}_{number:04}.asdf"
        with config.to_asdf() as tree:
            tree.write_to(crds / "references" / "jwst" / instrument / names[readpatt])
    rules = ", ".join(
        f"{readpatt!r}: UseAfter({{'1900-01-01 00:00:00': {name!r}}})"
        for readpatt, name in names.items()
    )
    common = {"instrument": instrument.upper()}
    rmap = f"jwst_{instrument}_{kind}_0001.rmap"
    header = {"mapping": "REFERENCE", "filekind": kind.upper(), "parkey": PARKEY, **common}
    write_mapping(mappings, rmap, header, f"Match({{{rules}}})")
    types = ast.literal_eval(imap.read_text().split("selector = ")[1])
    header = {"mapping": "INSTRUMENT", "parkey": ("REFTYPE",), **common}
    write_mapping(mappings, imap.name, header, repr({**types, kind.upper(): rmap}))
    return names
