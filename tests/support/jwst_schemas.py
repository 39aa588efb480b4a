"""Schemas of jwst's models, parsed once in each process."""

import sys
from functools import cache
from typing import Any


def share() -> None:
    """Cache the schemas to which others refer, if jwst's models have been imported.

    Whenever a model is made, asdf parses all of them again to validate its metadata, which takes a
    third of the time of a step. Nothing changes them.
    """
    asdf: Any = sys.modules.get("asdf.schema")
    make = getattr(asdf, "_make_jsonschema_refresolver", None)
    if make is None:
        return
    parsed = cache(make().handlers["asdf"])

    def make_sharing() -> Any:
        resolver = make()
        resolver.handlers = dict.fromkeys(resolver.handlers, parsed)
        return resolver

    asdf._make_jsonschema_refresolver = make_sharing
