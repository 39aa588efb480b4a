"""Seeded random damage to files of every kind that calbatch reads."""

from __future__ import annotations

import gzip
import json
import random
import re
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK, CARD = 2880, 80


@dataclass(frozen=True)
class Damage:
    """A damaged content, a description of the damage, and whether the content may be valid."""

    content: bytes
    what: str
    valid: bool = True


Mutator = Callable[[bytes, random.Random], Damage]

# -- any bytes ------------------------------------------------------------------------------------


def flip(content: bytes, rng: random.Random) -> Damage:
    octets = bytearray(content)
    places = [rng.randrange(len(octets)) for _ in range(rng.choice((1, 1, 2, 8, 64)))]
    for place in places:
        octets[place] ^= 1 << rng.randrange(8)
    return Damage(bytes(octets), f"bits flipped at {places[:8]}")


def truncate(content: bytes, rng: random.Random) -> Damage:
    length = rng.choice((rng.randrange(len(content)), len(content) // 2, len(content) - 1))
    return Damage(content[:length], f"cut to {length} of {len(content)} bytes", False)


def swap_blocks(content: bytes, rng: random.Random) -> Damage:
    size = rng.choice((BLOCK, 512, 64))
    count = max(1, len(content) // size)
    one, other = rng.randrange(count), rng.randrange(count)
    octets = bytearray(content)
    first, second = slice(one * size, (one + 1) * size), slice(other * size, (other + 1) * size)
    octets[first], octets[second] = content[second], content[first]
    return Damage(bytes(octets), f"blocks {one} and {other} of {size} bytes swapped")


def lose_block(content: bytes, rng: random.Random) -> Damage:
    at = rng.randrange(max(1, len(content) // BLOCK)) * BLOCK
    fill = rng.choice((b"", bytes(BLOCK), b"\xff" * BLOCK, content[at : at + BLOCK] * 2))
    return Damage(content[:at] + fill + content[at + BLOCK :], f"block at {at} became {fill[:4]!r}")


def pack(content: bytes, rng: random.Random) -> Damage:
    packed = gzip.compress(content, 1)
    inner = rng.choice((flip, truncate, lose_block))(packed, rng)
    return Damage(inner.content, f"compressed, then {inner.what}", False)


ANY: tuple[Mutator, ...] = (flip, truncate, swap_blocks, lose_block)

# -- FITS -----------------------------------------------------------------------------------------

NUMBERS = [
    "-1", "0", "1", "2", "7", "65", "999", "1000", "2147483648", "9223372036854775807", "1E400",
    "9" * 60, "-9223372036854775808", "nan", "NaN", "-inf", "1.5", "0x10", "1e-400",
]  # fmt: skip
TEXTS = [
    "''",
    "'x'",
    "'1'",
    "'" + "y" * 60 + "'",
    "'\xe9'",
    "'\x00'",
    "unquoted",
    "",
    "T",
    "F",
    "'",
]
FORMATS = ["'1PE(9)'", "'1QD'", "'99999999999E'", "'0E'", "'1A'", "'E'", "'64X'", "'?'", "'3M'"]
STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|TFORM\d+|TTYPE\d+|TDIM\d+|EXTNAME"
    r"|EXTVER|BZERO|BSCALE|THEAP|DATAMODL|REFTYPE) *="
)


def _cards(content: bytes, structural: bool) -> list[int]:
    text = content.decode("latin-1")
    places = range(0, len(text) - CARD + 1, CARD)
    known = re.compile(r"[A-Z0-9_-]{1,8} *= ")
    wanted = STRUCTURE if structural else known
    return [at for at in places if wanted.match(text, at) and text[at + 8 : at + 10] == "= "]


def edit_card(content: bytes, rng: random.Random) -> Damage:
    structural = rng.random() < 0.5
    places = _cards(content, structural) or [0]
    at = rng.choice(places)
    keyword = content[at : at + 8].decode("latin-1")
    value = rng.choice([*NUMBERS, *TEXTS, *(FORMATS if keyword.startswith("TFORM") else [])])
    card = f"{keyword}= {value:>20}".ljust(CARD)[:CARD].encode("latin-1")
    before = content[at + 10 : at + CARD].decode("latin-1").split("/")[0].strip()
    return Damage(
        content[:at] + card + content[at + CARD :],
        f"{keyword.strip()} at {at} = {value[:30]!r}",
        _kind(value) == _kind(before),
    )


def _kind(value: str) -> str:
    """Return the kind of a card's value; a value of no kind equals no other."""
    if re.fullmatch(r"[+-]?\d+(\.\d*)?([EDed][+-]?\d+)?", value):
        return "number"
    if re.fullmatch(r"'[ -~]*'", value):
        return "text"
    return "logical" if value in ("T", "F") else repr(value)


def move_card(content: bytes, rng: random.Random) -> Damage:
    at = rng.choice(_cards(content, rng.random() < 0.5) or [0])
    keyword = content[at : at + 8].decode("latin-1").strip()
    blank = b" " * CARD
    other = rng.choice(_cards(content, False) or [0])
    card, how = rng.choice(
        [
            (blank, "blanked"),
            (b"END".ljust(CARD), "replaced by END"),
            (content[other : other + CARD], f"replaced by the card at {other}"),
            (b"CONTINUE  'and more&'".ljust(CARD), "replaced by CONTINUE"),
            (b"HIERARCH a b c = 'x' / ".ljust(CARD), "replaced by HIERARCH"),
            (content[at : at + 8].lower() + content[at + 8 : at + CARD], "in lower case"),
        ]
    )
    return Damage(content[:at] + card + content[at + CARD :], f"{keyword} at {at} {how}")


def cut_asdf(content: bytes, rng: random.Random) -> Damage:
    """Cut an embedded ASDF extension, and fill the rest with zeros."""
    start, stop = content.rfind(b"#ASDF 1"), content.rfind(b"\n...")
    if not 0 <= start < stop:
        return truncate(content, rng)
    at = rng.randrange(start, stop)
    cut = content[:at] + bytes(len(content) - at)
    return Damage(cut, f"ASDF extension cut after {at - start} bytes", False)


FITS = (*ANY, pack, cut_asdf, edit_card, edit_card, edit_card, edit_card, move_card, move_card)

# -- text: YAML, rules, .cfg ----------------------------------------------------------------------

YAML = [
    "!!int ''", "!!bool maybe", "!!timestamp hello", "!!float x", "!!binary '*'", "!!set {a}",
    "!!omap [a]", "!!pairs [[]]", "!!null x", "!!python/object:os.system {}", "!!merge x",
    "{1: 2}", "{[a]: b}", "{? {a: b} : c}", "{null: 1}", "{true: 1}", "[" * 3000, "{a: " * 3000,
    "&a [*a]", "{x: &b {y: *b}}", "*nothing", "1" * 6000, "0x" + "f" * 9000, ":".join(["1"] * 5000),
    "1e400", "-.inf", ".nan", "~", "5", "[]", "{}", "''", '"\\u0000"', '"\\ud800"', "2020-13-45",
    "{<<: 5}", "{<<: [1]}", "{<<: {<<: {a: 1}}}", "|\n", "- - -", "%", "@", "`", "\t", "? ", "'",
]  # fmt: skip
BOMB = "\n".join(
    ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{f'*a{n - 1}, ' * 9}]}}" for n in range(1, 30))]
)
RULES = [
    "None", "5", "-1", "1e999", "()", "[]", "{}", "''", "'x' * 9", "f'{x}'", "open('x')", "True",
    "'" + "1" * 20000 + "x'", "'((A+)+B)'", "'(A(?=B))'", "'>'", "'between 2 1'", "'NOT '", "'#>#'",
    "'(('", "(" * 300 + ")" * 300, "[" * 150 + "]" * 150, "'../../x.fits'", "'/etc/passwd'", "b'x'",
    "{'a': {'b': {}}}", "('A',)", "(('A',),)", "9" * 5000, "1j", "...", "lambda: 0", "Match({})",
    "UseAfter({})", "UseAfter({'x': 'y'})", "Bracket({'a': 'b'})", "SelectVersion({'<x': 'y'})",
]  # fmt: skip
CFG = [
    "[[[x]]]", "[jump]", "a, b,", "'", '"', '"""', "#", "\\", "None", "%(x)s", "$x", "1e400", "nan",
    "9" * 5000, "-1", "config_file = batch.cfg", "config_file = a, b", "[steps]", "[[jump]]", "=",
    "class = os.system", "class = 5, 6", "name = ,", "\x00", "\xe9", "hooks", "[" * 400, "x" * 9999,
    "override_dark = /nothing", "pre_hooks = os:system,", "save_results = maybe",
]  # fmt: skip

_TOKEN = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|[\w.+-]+")


def edit_text(nasty: list[str]) -> Mutator:
    """Return a mutator that replaces a token, or adds a line."""

    def edit(content: bytes, rng: random.Random) -> Damage:
        text = content.decode("latin-1")
        tokens = list(_TOKEN.finditer(text))
        value = rng.choice(nasty)
        if not tokens or rng.random() < 0.15:
            at = rng.choice([m.end() for m in re.finditer("\n", text)] or [0])
            return Damage(
                (text[:at] + value + "\n" + text[at:]).encode("latin-1"), f"line {value[:40]!r}"
            )
        found = rng.choice(tokens)
        changed = text[: found.start()] + value + text[found.end() :]
        return Damage(changed.encode("latin-1"), f"{found[0][:40]!r} became {value[:40]!r}")

    return edit


def move_line(content: bytes, rng: random.Random) -> Damage:
    lines = content.splitlines(keepends=True)
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.choice(("lost", "twice", "swapped"))
    if how == "lost":
        del lines[one]
    elif how == "twice":
        lines.insert(other, lines[one])
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return Damage(b"".join(lines), f"line {one} {how}, {other}")


def merge_bomb(content: bytes, rng: random.Random) -> Damage:
    lines = content.split(b"\n")
    lines.insert(rng.randrange(len(lines)), BOMB.encode())
    return Damage(b"\n".join(lines), "a merge bomb")


TEXT = (flip, truncate, move_line)
ASDF = (*TEXT, *[edit_text(YAML)] * 5, merge_bomb)
RULE = (*TEXT, *[edit_text(RULES)] * 5)
CONFIG = (*TEXT, *[edit_text(CFG)] * 4)

# -- JSON -----------------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 2**70, 1e308, "", "x", "\x00", "9" * 5000, [], [None], {}, {"": None},
    [[]] * 9, {"crds_encoded": "1.0", "crds_payload": "!!"}, {"crds_encoded": 1}, "../x", ["a"] * 9,
]  # fmt: skip


def edit_json(content: bytes, rng: random.Random) -> Damage:
    tree = [json.loads(content)]
    node, key = tree, 0
    path = ""
    while isinstance(node[key], dict | list) and node[key] and rng.random() < 0.85:
        node = node[key]
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        path += f"/{key}"
    value = rng.choice(VALUES)
    node[key] = value
    return Damage(json.dumps(tree[0]).encode(), f"{path or '/'} became {value!r:.40}")


def nest_json(content: bytes, rng: random.Random) -> Damage:
    depth = rng.choice((500, 100_000))
    return Damage(b"[" * depth + content + b"]" * depth, f"nested {depth} deep")


JSON = (flip, truncate, nest_json, *[edit_json] * 5)

# -- SQLite ---------------------------------------------------------------------------------------

CELLS: list[Any] = [None, "x", -1, 2**62, 1.5, b"\xff\x00", "{", "[1]", "{}", "", "9" * 5000]


def edit_cell(content: bytes, rng: random.Random) -> Damage:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        path.write_bytes(content)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        names = [
            r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        table = rng.choice(names)
        columns = [r[1] for r in connection.execute(f"PRAGMA table_info({table})")]
        column, value = rng.choice(columns), rng.choice(CELLS)
        try:
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
        except sqlite3.Error as error:
            value = error
        connection.close()
        return Damage(path.read_bytes(), f"{table}.{column} = {value!r:.40}")


def drop_table(content: bytes, rng: random.Random) -> Damage:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        path.write_bytes(content)
        connection = sqlite3.connect(path, isolation_level=None)
        table = rng.choice(["batches", "exposures", "inputs", "products", "bodies", "refs"])
        what = rng.choice([f"DROP TABLE {table}", f"DELETE FROM {table}"])
        connection.execute(what)
        connection.close()
        return Damage(path.read_bytes(), what)


LEDGER = (*ANY, *[edit_cell] * 5, drop_table)
