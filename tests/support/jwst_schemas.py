"""Schemas of jwst's models, parsed and merged once in each process.

Otherwise, each model copies and merges the schemas of its class when it is made, and asdf parses
them again to validate the model's metadata. Both take much of the time of a step on a small frame.
Nothing changes the schemas.
"""

import sys
from functools import cache
from types import SimpleNamespace
from typing import Any


def share() -> None:
    """Cache the schemas of jwst's models, if these have been imported."""
    if "stdatamodels.model_base" in sys.modules:
        _share_references()
        _share_merged()


def _share_references() -> None:
    """Parse the schemas to which others refer once."""
    asdf: Any = sys.modules["asdf.schema"]
    make = getattr(asdf, "_make_jsonschema_refresolver", None)
    if make is None:
        return
    parsed = cache(make().handlers["asdf"])

    def make_sharing() -> Any:
        resolver = make()
        resolver.handlers = dict.fromkeys(resolver.handlers, parsed)
        return resolver

    asdf._make_jsonschema_refresolver = make_sharing


def _share_merged() -> None:
    """Share one merged schema among all models of a class."""
    models: Any = sys.modules["stdatamodels.model_base"]
    schemas: Any = sys.modules["stdatamodels.schema"]
    load, merge = cache(models.asdf_schema.load_schema), schemas.merge_property_trees
    merged: dict[str, tuple[Any, Any]] = {}

    def load_once(url: str, **options: bool) -> Any:
        schema = load(url, **options)
        merged.setdefault(url, (schema, merge(schema)))
        return schema

    def merge_once(schema: Any) -> Any:
        known = (done for own, done in merged.values() if own is schema)
        return next(known, None) or merge(schema)  # others are extended by their models

    models.asdf_schema = SimpleNamespace(load_schema=load_once)
    schemas.merge_property_trees = merge_once
