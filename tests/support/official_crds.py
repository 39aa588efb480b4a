"""PyPI ``crds`` for comparison, with its answers in our terms."""

import functools
import os
import random
from pathlib import Path

from calbatch.crds_client.errors import MappingError
from calbatch.crds_client.reference_table import Configurations
from calbatch.crds_client.rules.conditioning import condition_value
from calbatch.crds_client.rules.literals import parse_mapping
from calbatch.crds_client.rules.mapping import (
    NOT_APPLICABLE,
    InstrumentRules,
    ReferenceRules,
    Resolution,
    load_mapping,
    mapping_checksum,
)
from calbatch.crds_client.rules.selectors import flat_names
from support.crds_rules import Drawn, Generator

Answer = tuple[str, tuple[str, ...]]
GARBAGE = "garbage"


@functools.cache
def import_crds():
    """Import ``crds`` quietly and without a server."""
    os.environ.setdefault("CRDS_SERVER_URL", "https://jwst-serverless.stsci.edu")
    from crds.core import log, rmap

    log.set_verbose(0)
    log.THE_LOGGER.logger.setLevel("CRITICAL")
    return rmap


def official_rules(text: str, name: str = "drawn.rmap"):
    """Load rules with ``crds``; return None if it refuses them."""
    try:
        return import_crds().ReferenceMapping.from_string(text, name, ignore_checksum=True)
    except Exception:  # crds raises exceptions of any type
        return None


def our_rules(text: str, name: str = "drawn.rmap") -> ReferenceRules | None:
    """Load rules with our client; return None if it refuses them."""
    try:
        return ReferenceRules(parse_mapping(text, name))
    except MappingError:
        return None


def answer(value: object) -> Answer:
    """Translate the answer of ``crds`` for a type into status and names."""
    if value is None or (isinstance(value, str) and value.startswith("NOT FOUND n/a")):
        return "n/a", ()
    if isinstance(value, str) and value.startswith("NOT FOUND"):
        return "not found", ()
    try:
        return "found", tuple(name for name in flat_names(value) if name not in NOT_APPLICABLE)
    except (
        TypeError
    ):  # crds returns rules instead of names if only some equal selections name a file
        return GARBAGE, ()


def agree(got: Resolution, expected: Answer) -> bool:
    """Return whether both answers agree; where ``crds`` returns rules, ours is not found."""
    if expected[0] == GARBAGE:
        return got.status != "found"
    return (got.status, got.names) == expected


def compare_drawn(seed: int, headers: int = 25) -> dict[str, int]:
    """Compare drawn rules on drawn headers; return the count of each status."""
    rng = random.Random(seed)
    return compare(Generator(rng).draw(), rng, headers, f"seed {seed}")


def compare(drawn: Drawn, rng: random.Random, headers: int, what: str) -> dict[str, int]:
    """Compare rules on drawn headers; return the count of each status."""
    theirs, ours = official_rules(drawn.text), our_rules(drawn.text)
    assert (theirs is None) == (ours is None), f"{what}: one loads\n{drawn.text}"
    counts: dict[str, int] = {}
    for _ in range(headers if ours else 0):
        header = drawn.header(rng)
        if rng.random() < 0.6:
            header = {key: condition_value(value) for key, value in header.items()}
        expected = answer(theirs.get_best_ref(dict(header)))
        got = ours.resolve(header)
        counts[expected[0]] = counts.get(expected[0], 0) + 1
        assert agree(got, expected), f"{what}: {header}\n{drawn.text}"
    return counts


def add_checksum(text: str) -> str:
    """Add to the text of a rules file the checksum that it must state."""
    text = text.replace("{", "{\n'sha1sum': 'SUM',\n", 1)
    return text.replace("SUM", mapping_checksum(text))


def instrument_of_one(text: str, observatory: str) -> Configurations:
    """Make an instrument with one type, which a client resolves for a batch."""
    header = {"observatory": observatory, "instrument": "ANY", "parkey": ("REFTYPE",)}
    files = {
        "drawn.rmap": add_checksum(text),
        "drawn.imap": add_checksum(f"header = {header!r}\nselector = {{'FLAT': 'drawn.rmap'}}\n"),
    }
    rules = InstrumentRules(load_mapping("drawn.imap", files.__getitem__), files.__getitem__)
    return Configurations(rules, observatory)


def compare_drawn_batch(seed: int, headers: int = 40) -> dict[str, int]:
    """Compare a drawn batch: few values of each parameter, in every combination with dates.

    Cached results of one header must be right for the next.
    """
    rng = random.Random(seed)
    drawn = Generator(rng).draw()
    theirs = official_rules(drawn.text)
    counts: dict[str, int] = {}
    if theirs is None:
        return counts
    known = instrument_of_one(drawn.text, theirs.observatory)
    few = {name: rng.choices(values, k=4) for name, values in drawn.values.items()}
    for _ in range(headers):
        header = {name: rng.choice(values) for name, values in few.items()}
        values = known.values(header)
        conditioned = dict(zip(known.rules.parameters, values, strict=True))
        expected = answer(theirs.get_best_ref(conditioned))
        got = known.resolve(values, None)["flat"]
        counts[expected[0]] = counts.get(expected[0], 0) + 1
        assert agree(got, expected), f"seed {seed}: {header}\n{drawn.text}"
        assert known.resolve(values, ("FLAT",)) == {"flat": got}
    return counts


def rmap_texts(folder: Path) -> dict[str, str]:
    """Read every ``.rmap`` of a cache."""
    return {path.name: path.read_text() for path in sorted(folder.glob("*.rmap"))}
