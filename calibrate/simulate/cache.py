"""A complete CRDS cache: reference files, the rules that select them, and the server's settings.

The layout is that of the CRDS client (``mappings``, ``references`` and ``config``, with a folder of
references for each instrument). Rules files are literals as CRDS writes them, with the SHA-1 digest
of all lines but the checksum's own.
"""

import hashlib
import pprint
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calbatch.calibrate.simulate.reference_parts import Reference
from calbatch.calibrate.simulate.write import write_fits
from calbatch.models.asdf.asdf_writer import write_asdf

CONTEXT = "jwst_0001.pmap"

PATHS = {
    "BAND": "META.INSTRUMENT.BAND",
    "DETECTOR": "META.INSTRUMENT.DETECTOR",
    "EXP_TYPE": "META.EXPOSURE.TYPE",
    "FILTER": "META.INSTRUMENT.FILTER",
    "PUPIL": "META.INSTRUMENT.PUPIL",
    "READPATT": "META.EXPOSURE.READPATT",
    "SUBARRAY": "META.SUBARRAY.NAME",
}
DATES = ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")

# Header keywords that select a reference, in the order of the observatory's rules.
KEYS = {
    "area": ("DETECTOR", "FILTER", "PUPIL", "EXP_TYPE", "SUBARRAY"),
    "dark": ("DETECTOR", "READPATT", "SUBARRAY"),
    "emicorr": ("DETECTOR", "READPATT", "SUBARRAY"),
    "flat": ("DETECTOR", "FILTER", "PUPIL", "SUBARRAY"),
    "gain": ("DETECTOR", "SUBARRAY"),
    "linearity": ("DETECTOR", "SUBARRAY"),
    "mask": ("DETECTOR", "SUBARRAY"),
    "photom": ("DETECTOR", "FILTER", "PUPIL"),
    "readnoise": ("DETECTOR", "READPATT", "SUBARRAY"),
    "reset": ("DETECTOR", "READPATT", "SUBARRAY"),
    "refpix": ("DETECTOR", "READPATT"),
    "rscd": ("DETECTOR", "SUBARRAY"),
    "saturation": ("DETECTOR", "SUBARRAY"),
    "sirskernel": ("DETECTOR",),
    "superbias": ("DETECTOR", "READPATT", "SUBARRAY"),
}
OWN_KEYS = {
    ("FGS", "area"): ("DETECTOR", "EXP_TYPE", "SUBARRAY"),
    ("FGS", "flat"): ("DETECTOR", "EXP_TYPE", "SUBARRAY"),
    ("FGS", "mask"): ("DETECTOR", "SUBARRAY", "EXP_TYPE"),
    ("FGS", "photom"): ("DETECTOR", "EXP_TYPE"),
    ("MIRI", "area"): ("DETECTOR", "FILTER", "EXP_TYPE", "SUBARRAY"),
    ("MIRI", "flat"): ("DETECTOR", "FILTER", "BAND", "READPATT", "SUBARRAY"),
    ("MIRI", "linearity"): ("DETECTOR", "SUBARRAY", "BAND", "FILTER"),
    ("MIRI", "photom"): ("DETECTOR", "FILTER", "BAND"),
    ("MIRI", "readnoise"): ("DETECTOR", "SUBARRAY", "READPATT"),
    ("NIRCAM", "dark"): ("EXP_TYPE", "DETECTOR", "READPATT", "SUBARRAY"),
    ("NIRSPEC", "mask"): ("DETECTOR", "SUBARRAY", "READPATT"),
}

# Types that a pipeline may request, but that are not applicable to some or all exposures.
NOT_APPLICABLE = (
    "abvegaoffset apcorr area barshadow bkg camera chromcorr collimator cubepar dark dflat "
    "disperser distortion drizpars emicorr extract1d fflat filteroffset flat fore fpa fringe "
    "fringefreq gain ifufore ifupost ifuslicer ipc lastframe linearity mask mrsptcorr "
    "mrsxartcorr msa msaoper nrm ote pastasoss pathloss persat photom pictureframe psf "
    "psfmask readnoise refpix regions reset rscd saturation sflat sirskernel speckernel "
    "specprofile specwcs straymask superbias throughput trapdensity trappars tsophot wavecorr "
    "wavelengthrange wfssbkg"
)

Match = tuple[str, ...]


def key_names(reference: Reference) -> Match:
    """Return the header keywords that select references of this type."""
    return OWN_KEYS.get((reference.instrument, reference.kind), KEYS[reference.kind])


@dataclass
class Cache:
    """A CRDS cache that is being written.

    Attributes
    ----------
    folder : Path
        The value for ``CRDS_PATH``.
    """

    folder: Path
    _rules: dict[tuple[str, str], dict[Match, dict[str, str]]] = field(default_factory=dict)
    _added: dict[str, Reference] = field(default_factory=dict)

    def add(self, reference: Reference) -> None:
        """Write a reference file and record its rule.

        Of two references for the same exposures and frame, the one with more groups is kept.

        Raises
        ------
        ValueError
            If a reference for the same exposures has another frame.
        """
        match = tuple(reference.keys.get(name, "N/A") for name in key_names(reference))
        rules = self._rules.setdefault((reference.instrument, reference.kind), {})
        by_date = rules.setdefault(match, {})
        useafter = reference.useafter.replace("T", " ")
        earlier = self._added.get(by_date.get(useafter, ""))
        if earlier is not None and earlier.frame != reference.frame:
            raise ValueError(
                f"{reference.kind} references of two frames would apply to "
                f"{' '.join(match)}: give the subarrays different names, or use full_references"
            )
        if earlier is None or reference.ngroups > earlier.ngroups:
            name = by_date.setdefault(useafter, self._next_name(reference))
            self._added[name] = reference.without_data()
            folder = self.folder / "references" / "jwst" / reference.instrument.lower()
            if reference.tree is not None:
                folder.mkdir(parents=True, exist_ok=True)
                write_asdf(folder / name, reference.tree)
            else:
                write_fits(folder / name, reference.cards, reference.extensions)

    def _next_name(self, reference: Reference) -> str:
        """Return the next free name for a reference of this type."""
        start = f"jwst_{reference.instrument.lower()}_{reference.kind}_"
        number = 1 + sum(name.startswith(start) for name in self._added)
        return f"{start}{number:04d}{reference.suffix}"

    def finish(self) -> str:
        """Write the rules and the server's settings; return the name of the context."""
        names: dict[str, dict[str, str]] = {}
        nothing = {kind.upper(): "N/A" for kind in NOT_APPLICABLE.split()}
        for instrument, kind in sorted(self._rules):
            types = names.setdefault(instrument, nothing.copy())
            types[kind.upper()] = self._write_rules(instrument, kind)
        instruments = {}
        for instrument, types in names.items():
            instruments[instrument] = f"jwst_{instrument.lower()}_0001.imap"
            header = {"instrument": instrument, "mapping": "INSTRUMENT", "parkey": ("REFTYPE",)}
            self._write_mapping(instruments[instrument], header, _format_selector(types))
        header = {"mapping": "PIPELINE", "parkey": ("META.INSTRUMENT.NAME",)}
        self._write_mapping(CONTEXT, header, _format_selector(instruments))
        self._write_settings()
        return CONTEXT

    def _write_rules(self, instrument: str, kind: str) -> str:
        """Write the rules of one reference type; return the name of the file."""
        rules = self._rules[instrument, kind]
        names = OWN_KEYS.get((instrument, kind), KEYS[kind])
        header: dict[str, object] = {
            "classes": ("Match", "UseAfter"),
            "filekind": kind.upper(),
            "instrument": instrument,
            "mapping": "REFERENCE",
            "parkey": (tuple(PATHS[name] for name in names), DATES),
        }
        if "SUBARRAY" in names:
            header["substitutions"] = {PATHS["SUBARRAY"]: {"GENERIC": "N/A"}}
        lines = ["Match({\n"]
        for match in sorted(rules):
            lines.append(f"    {match if len(match) > 1 else match[0]!r} : UseAfter({{\n")
            lines += [
                f"        {date!r} : {name!r},\n" for date, name in sorted(rules[match].items())
            ]
            lines.append("    }),\n")
        name = f"jwst_{instrument.lower()}_{kind}_0001.rmap"
        self._write_mapping(name, header, "".join([*lines, "})\n"]))
        return name

    def _write_mapping(self, name: str, header: Mapping[str, object], selector: str) -> None:
        """Write a rules file with its checksum."""
        cards = {**header, "derived_from": "generated", "name": name, "observatory": "JWST"}
        digest = hashlib.sha1(_mapping(cards, selector).encode(), usedforsecurity=False)
        cards["sha1sum"] = digest.hexdigest()
        path = self.folder / "mappings" / "jwst" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_mapping(cards, selector))

    def _write_settings(self) -> None:
        """Write the settings that a client would otherwise request from the server."""
        folder = self.folder / "config" / "jwst"
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "bad_files_list": [],
            "connected": False,
            "force_remote_mode": 0,
            "last_synced": "2024-01-01 00:00:00",
            "mappings": sorted(path.name for path in (self.folder / "mappings" / "jwst").iterdir()),
            "observatory": "jwst",
            "operational_context": CONTEXT,
            "status": "cache",
        }
        (folder / "server_config").write_text(pprint.pformat(settings) + "\n")
        (folder / "bad_files.txt").write_text("")
        (folder / "ref_cache_subdir_mode").write_text("instrument")


def _format_selector(names: dict[str, str]) -> str:
    """Return the selector of a mapping to file names."""
    return "{\n" + "".join(f"    {key!r} : {names[key]!r},\n" for key in sorted(names)) + "}\n"


def _mapping(header: Mapping[str, object], selector: str) -> str:
    """Return the text of a rules file; without ``sha1sum`` in the header, the text to be hashed."""
    lines = []
    for key in sorted(header):
        value = header[key]
        if isinstance(value, dict):
            lines.append(f"    {key!r} : {{\n")
            for name, replacements in value.items():
                lines.append(f"        {name!r} : {{\n")
                lines += [f"            {old!r} : {new!r},\n" for old, new in replacements.items()]
                lines.append("        },\n")
            lines.append("    },\n")
        else:
            lines.append(f"    {key!r} : {value!r},\n")
    return "header = {\n" + "".join(lines) + "}\n\nselector = " + selector
