"""Random rules files, with headers to evaluate them, for comparison with PyPI ``crds``."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

NAMES = {
    "jwst": ("META.INSTRUMENT.DETECTOR", "META.EXPOSURE.TYPE", "META.SUBARRAY.NAME"),
    "hst": ("DETECTOR", "CCDGAIN", "SUBARRAY"),
    "roman": ("ROMAN.META.INSTRUMENT.DETECTOR", "ROMAN.META.EXPOSURE.TYPE", "ROMAN.META.X"),
}
DATES = {
    "jwst": ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"),
    "hst": ("DATE-OBS", "TIME-OBS"),
    "roman": ("ROMAN.META.EXPOSURE.START_TIME",),
}
VERSION = "META.CALIBRATION_SOFTWARE_VERSION"
NUMBER = "META.INSTRUMENT.WAVELENGTH"
INSTRUMENTS = {"jwst": "NIRISS", "hst": "COS", "roman": "WFI"}

WORDS = ["A", "B", "C1", "AB", "GENERIC", "FULL", "1", "2.0", "-3", "T", "F", "NOTCH"]
PATTERNS = [
    "ANY", "*", "N/A", "A|B", "B|C1|AB", "A*", "*B", "C?|A", "NOT A", "NOT A|B", "not FULL",
    "NOT {A}", "NOT (A|B)", "NOT N/A", "{A|B}", "{A}", "(A.*)", "(A|B$)", "(C[0-9])", ">1",
    "<=2.5", ">= -3", "#>1 and <=20#", "# >1 AND <2.5 #", "#<0 or >1#", "#>1#", "between 1 3",
    "BETWEEN -5 2", "not between 1 3", ("A", "B"), 1, 2.0, -3, True, False, "A|GENERIC", "A| ",
]  # fmt: skip
VALUES = [
    *WORDS, "a", "full", "1.0", "2", "1.", "2.50", "20", "-3.0", "N/A", "ANY", "*", "UNDEFINED",
    "", "true", "False", "NOSUCH", "nan", "inf", "NOT A", "NOT NOSUCH", "A|B", "(A)", "{A}", "C1B",
    "NOT_APPLICABLE", "N/A?", "1e0", "between 1 3", "BETWEEN", "4294967295", "#>1#", " A ",
]  # fmt: skip
DAYS = [
    "1900-01-01 00:00:00", "2015-10-31 12:30:00", "2015-11-01 00:00:00", "2016-02-29 23:59:59",
    "2022-07-01 00:00:00", "2030-01-01 00:00:00",
]  # fmt: skip
DAY_VALUES = [
    "2015-10-31", "2015-11-01", "2015/10/31", "10/31/2015", "31/10/15", "2016-02-29", "2015-02-29",
    "1899-12-31", "2022-07-01", "2099-01-01", "UNDEFINED", "", "Oct 31 2015", "31 Oct 2015",
    "Oct 31, 2015", "2015-Oct-31", "2015", "20151031:123000", "2015-10-31T12:30:00", "N/A",
]  # fmt: skip
TIME_VALUES = [
    "00:00:00", "12:30:00", "12:29:59", "12:30:01", "12:30", "12:30:00.5", "23:59:59.999999",
    "01:02AM", "01:02 PM", "12:30:00.000000", "UNDEFINED", "", "25:00:00", "12", "12:30:00 UT",
]  # fmt: skip
VERSIONS = ["0.7.0", "0.13.2", "1", "1.5", "2.0.1rc1", "10.0"]
VERSION_VALUES = [*VERSIONS, "0.6", "1.4.9", "1.5.0.dev3+g12", "99", "x", "UNDEFINED", "1.0", ""]
RELATIONS = ["<3.1", "<5", "= 4", "==6", "<=7", "default", "8.5", "= default"]
RELATION_VALUES = ["1", "3.1", "3.10", "4", "4.0", "5", "6", "7", "9", "default", "x", "nan", ""]
NUMBERS = ["0.6", "1.2", "1.5", "5.0", "10", "-2"]
NUMBER_VALUES = [*NUMBERS, "1.35", "1.350001", "3.25", "100", "-50", "x", "nan", "UNDEFINED", "1e1"]


@dataclass
class Drawn:
    """A rules file: its text, the header parameters, and likely values of each."""

    text: str
    values: dict[str, list[str]]

    def header(self, rng: random.Random) -> dict[str, str]:
        """Draw a header, which occasionally lacks a card."""
        return {
            name: rng.choice(values) for name, values in self.values.items() if rng.random() > 0.04
        }


class Generator:
    """Draws rules files with every construct of CRDS."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.observatory = rng.choice(("jwst", "jwst", "hst", "roman"))
        self.count = 0

    def draw(self) -> Drawn:
        """Draw one rules file."""
        classes = self.classes()
        parkeys = tuple(self.parkey(kind) for kind in classes)
        values = {"META.VISIT.TSOVISIT": ["T", "F", "UNDEFINED"]}
        for kind, names in zip(classes, parkeys, strict=True):
            for position, name in enumerate(names):
                values[name] = self.header_values(kind, position)
        selector = self.selector(classes, parkeys)
        header = {
            "derived_from": "scratch", "mapping": "REFERENCE", "filekind": "FLAT",
            "observatory": self.observatory.upper(), "name": "drawn.rmap",
            "instrument": INSTRUMENTS[self.observatory], "parkey": parkeys, **self.options(parkeys),
        }  # fmt: skip
        return Drawn(f"header = {header!r}\n\nselector = {selector}\n", values)

    def classes(self) -> list[str]:
        """Draw the nesting."""
        last = ["UseAfter", "UseAfter", "UseAfter", "ClosestTime", "VersionAfter", "SelectVersion"]
        inner = self.rng.choice([*last, "GeometricallyNearest", "Bracket"])
        shape = self.rng.random()
        if shape < 0.65:
            return ["Match", inner]
        if shape < 0.75:
            return [inner]
        if shape < 0.85:
            return ["Match", self.rng.choice(["UseAfter", "Bracket", "SelectVersion"]), "Match"]
        return ["Match"]

    def parkey(self, kind: str) -> tuple[str, ...]:
        """Return the parameters of one level."""
        if kind == "Match":
            names = NAMES[self.observatory]
            return names[: self.rng.randint(1, len(names))]
        if kind in ("UseAfter", "ClosestTime"):
            return DATES[self.observatory]
        return (VERSION,) if "Version" in kind else (NUMBER,)

    def header_values(self, kind: str, position: int) -> list[str]:
        """Return possible header values of a parameter."""
        if kind == "Match":
            return VALUES
        if kind in ("UseAfter", "ClosestTime"):
            if self.observatory == "roman":
                return [f"{d} {t}" for d in DAY_VALUES[:6] for t in TIME_VALUES[:5]] + DAYS
            return TIME_VALUES if position else DAY_VALUES
        if kind == "VersionAfter":
            return VERSION_VALUES
        return RELATION_VALUES if kind == "SelectVersion" else NUMBER_VALUES

    def selector(self, classes: list[str], parkeys: tuple[tuple[str, ...], ...]) -> str:
        """Draw a selector and everything below it."""
        if not classes or (len(classes) < len(parkeys) and self.rng.random() < 0.06):
            return self.choice()
        if self.rng.random() < 0.03:
            return f"{classes[0]}({{}})"
        keys = self.keys(classes[0], len(parkeys[-len(classes)]))
        body = (f"    {key!r} : {self.selector(classes[1:], parkeys)}," for key in keys)
        return f"{classes[0]}({{\n" + "\n".join(body) + "\n})"

    def choice(self) -> str:
        """Draw a choice."""
        self.count += 1
        special = self.rng.random()
        if special < 0.06:
            return self.rng.choice(["'N/A'", "'n/a'", "'TEMP_N/A'", "'OMIT'"])
        if special < 0.09:
            return repr((f"a{self.count:03}.fits", f"b{self.count:03}.fits"))
        return repr(f"jwst_{self.rng.randint(1, 999):04}.fits")

    def keys(self, kind: str, width: int) -> list[object]:
        """Draw the keys of one selector."""
        if kind == "Match":
            made = [self.match_key(width) for _ in range(self.rng.randint(1, 6))]
            return list(dict.fromkeys(made))
        pool = {
            "UseAfter": DAYS, "ClosestTime": DAYS, "VersionAfter": VERSIONS,
            "SelectVersion": RELATIONS, "GeometricallyNearest": NUMBERS,
            "Bracket": [float(number) for number in NUMBERS],
        }[kind]  # fmt: skip
        return self.rng.sample(pool, self.rng.randint(1, len(pool)))

    def match_key(self, width: int) -> object:
        """Draw one key of a Match."""
        parts = tuple(
            self.rng.choice(PATTERNS if self.rng.random() < 0.5 else WORDS) for _ in range(width)
        )
        bare = width == 1 and not isinstance(parts[0], tuple) and self.rng.random() < 0.5
        return parts[0] if bare else parts

    def options(self, parkeys: tuple[tuple[str, ...], ...]) -> dict[str, object]:
        """Draw header entries that change the choice."""
        name = self.rng.choice(parkeys[0])
        # crds reads a bare key with several values as a key of several parameters. Keys are bare
        # on levels with one parameter.
        is_bare = any(names == (name,) for names in parkeys)
        several = "A" if is_bare else ["A", "B"]
        entries = (
            ("reffile_required", self.rng.choice(["YES", "NO", "no", "NONE"])),
            ("merge_overlaps", self.rng.choice([True, False, "true", "FALSE", "1", 0])),
            ("substitutions", {name: {"GENERIC": several, "AB": "N/A"}}),
            ("rmap_relevance", self.condition(name)),
            ("rmap_omit", self.condition(name)),
            ("parkey_relevance", {name.lower(): self.condition(name)}),
            ("comment_parkeys", (name,)),
            ("extra_keys", ("EXTRA",)),
        )
        return {key: value for key, value in entries if self.rng.random() < 0.15}

    def condition(self, name: str) -> str:
        """Draw a condition on the header."""
        return self.rng.choice(
            [
                "ALWAYS", f"({name} == 'A')", f"({name} != 'A' and not {name} in ['B', 'C1'])",
                f"({name} not in ('A','B') or {name} == '1.0')", f"({name} > 'B')",
                "(MISSING == 1)",
                f"('A' if {name} == 'B' else '')", f"({name} in 'ABC')", f"{name} == 'A'",
                f"('A' <= {name} < 'C')", f"({name} < 5)", "(True)", "(1 == 1)",
            ]
        )  # fmt: skip


def shipped_headers(observatory: str) -> Iterator[dict[str, Any]]:
    """Return the headers that ``crds`` ships for new rules files of every type."""
    text = files("crds").joinpath(observatory, "specs", "combined_specs.json").read_text()
    dated = {"hst": ("DATE-OBS", "TIME-OBS"), "roman": ("ROMAN.META.EXPOSURE.START_TIME",)}
    for instrument, types in json.loads(text).items():
        for kind, spec in types.items():
            levels = spec.get("parkey")
            if levels is None:
                continue
            if observatory == "hst" and not (levels and isinstance(levels[0], list)):
                levels = (levels, dated["hst"])
            completed = {key: one for key, one in spec.items() if one is not None}
            lists = {key: tuple(one) for key, one in completed.items() if isinstance(one, list)}
            yield {
                "derived_from": "scratch", **completed, **lists, "mapping": "REFERENCE",
                "observatory": observatory.upper(), "instrument": instrument.upper(),
                "filekind": kind.upper(), "name": "drawn.rmap", "parkey": tuple(map(tuple, levels)),
            }  # fmt: skip


def rules_under(header: dict[str, Any], rng: random.Random) -> Drawn:
    """Draw rules for a given header, and the values that its conditions mention."""
    conditions = [header.get("rmap_relevance"), header.get("rmap_omit")]
    conditions += (header.get("parkey_relevance") or {}).values()
    text = " ".join(filter(None, conditions))
    words = [*re.findall(r"[\"']([^\"']+)[\"']", text), "A", "1.0"]
    matched, dated = (*header["parkey"], ())[:2]
    rows = [tuple(rng.choice([*words, "N/A", "*", "A|1.0"]) for _ in matched) for _ in range(6)]
    body = ""
    for number, row in enumerate(dict.fromkeys(rows)):
        name = f"x{number}.fits"
        choice = f"UseAfter({{{rng.choice(DAYS)!r} : {name!r},}})" if dated else repr(name)
        body += f"    {row!r} : {choice},\n"
    names = [*matched, *re.findall(r"[A-Z][A-Z0-9_]+", re.sub(r"[\"'][^\"']*[\"']", "", text))]
    names.append(header.get("reffile_switch", "NONE").upper())
    values = {name: [*words, *words, "UNDEFINED", "OMIT", "0.5"] for name in names}
    days = DAYS if len(dated) == 1 else DAY_VALUES
    values.update(zip(dated, (days, TIME_VALUES), strict=False))
    return Drawn(f"header = {header!r}\n\nselector = Match({{\n{body}}})\n", values)
