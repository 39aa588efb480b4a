"""Reading associations, which name the exposures that are calibrated together, and their products.

Associations are JSON files from the observatory, of level 2 (a science exposure with its
backgrounds) or level 3 (exposures that are combined). Only the entries that calbatch uses are
validated; others are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from calbatch.cluster.exposure.unit import SCIENCE, AssociationKeywords
from calbatch.models.errors import FileError
from calbatch.models.fits.card_formats import replace_unprintable
from calbatch.models.storage.files import open_decompressed, read_stamp
from calbatch.models.storage.location import Location

PATTERN = "*_asn.json"
"""Pattern of the names of associations in a folder."""

MAX_SIZE = 64 << 20
"""Maximum size of an association in bytes; real ones have less than one MB."""

MAX_LENGTH = 255
"""Maximum length of names and other texts, in characters."""

_NAME = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH}
_TEXT = {"type": "string", "maxLength": MAX_LENGTH}
_SCHEMA = {
    "type": "object",
    "required": ["products"],
    "properties": {
        "asn_rule": _TEXT,
        "asn_pool": _TEXT,
        "products": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "members"],
                "properties": {
                    "name": _NAME,
                    "members": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "object", "required": ["expname", "exptype"]},
                    },
                },
            },
        },
    },
}


class AssociationMember(NamedTuple):
    """A member of a product: its role, which is its exposure type, and the name of its file."""

    role: str
    name: str


@dataclass(frozen=True)
class AssociationProduct:
    """A product of an association: its name, without suffix, and its members."""

    name: str
    members: Sequence[AssociationMember]

    @property
    def science(self) -> Sequence[str]:
        """The names of the science members; there is at least one."""
        return [member.name for member in self.members if member.role == SCIENCE]


@dataclass(frozen=True)
class Association:
    """An association file.

    Attributes
    ----------
    path : Path or Url
        The file.
    rule : str
        The rule by which it was made, such as ``Asn_Lv2Image``; "" if it names none.
    products : sequence of AssociationProduct
        Its products.
    """

    path: Location
    rule: str
    products: Sequence[AssociationProduct]


def is_association(path: Location) -> bool:
    """Return whether a path is that of an association, by its name."""
    return path.name.lower().removesuffix(".gz").endswith(".json")


def read_association(path: Location) -> Association:
    """Read and validate an association.

    Raises
    ------
    FileError
        If it cannot be read, is not an association, has a product without science members, or
        has a name that is a path; the message names the entry.
    """
    value = _read_json(path)
    _validate(path, value)
    products = [_product(path, n, entry) for n, entry in enumerate(value["products"])]
    return Association(path, value.get("asn_rule", ""), products)


def read_keywords(path: Location) -> AssociationKeywords:
    """Return the names that products record of their association, in printable ASCII.

    The association has been read and validated before, when the batch was registered.

    Raises
    ------
    FileError
        If it cannot be read any more, or its ``asn_pool`` is not text.
    """
    value = _read_json(path)
    pool = value.get("asn_pool", "") if isinstance(value, dict) else None
    if not isinstance(pool, str):
        raise FileError(path, f"is not an association: its asn_pool is {pool!r:.60}")
    return AssociationKeywords(replace_unprintable(path.name), replace_unprintable(pool))


def _read_json(path: Location) -> Any:
    stamp = read_stamp(path)
    with open_decompressed(stamp) as read:
        data = bytes(read(0, MAX_SIZE + 1))
    if len(data) > MAX_SIZE:
        raise FileError(path, f"is larger than {MAX_SIZE >> 20} MB, so it is not an association")
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(path, "is not an association: it is not JSON") from error


def _validate(path: Location, value: Any) -> None:
    error = next(_validator().iter_errors(value), None)
    if error is None:
        return
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    wanted = f"{error.validator} {error.validator_value!r:.60}"
    raise FileError(path, f"is not an association: {place.lstrip('.') or 'it'} violates {wanted}")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # slow to import

    return Draft202012Validator(_SCHEMA)


def _product(path: Location, number: int, entry: Mapping[str, Any]) -> AssociationProduct:
    members = [
        AssociationMember(
            _member_text(path, number, n, each, "exptype").strip().lower(),
            _member_text(path, number, n, each, "expname").strip(),
        )
        for n, each in enumerate(entry["members"])
    ]
    name = entry["name"].strip()
    for text in (name, *(member.name for member in members)):
        _require_plain(path, number, text)
    product = AssociationProduct(name, members)
    if not product.science:
        raise FileError(path, f"products[{number}] has no member of exptype science")
    return product


def _member_text(
    path: Location, number: int, member: int, entry: Mapping[str, Any], key: str
) -> str:
    """Return a text of a member, which is not in the schema: jsonschema takes 20 us for each."""
    text = entry[key]
    if not (isinstance(text, str) and 1 <= len(text) <= MAX_LENGTH):
        raise FileError(
            path,
            f"is not an association: products[{number}].members[{member}].{key} is {text!r:.60}, "
            f"not a text of 1 to {MAX_LENGTH} characters",
        )
    return text


def _require_plain(path: Location, number: int, name: str) -> None:
    """Refuse a name that could lead out of the association's folder."""
    is_plain = name and name.isprintable() and PurePosixPath(name).name == name and name != ".."
    if not is_plain:
        raise FileError(
            path,
            f"products[{number}] names {name!r:.80}: must be the name of a file beside the "
            "association, without folders",
        )
