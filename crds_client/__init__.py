"""Reference files selected by CRDS rules: the rules, the cache, downloads."""

from calbatch.crds_client.client import Client
from calbatch.crds_client.errors import CrdsError, ReferenceMissing
from calbatch.crds_client.reference_table import ReferenceTable
from calbatch.crds_client.rules.mapping import Resolution

__all__ = ["Client", "CrdsError", "ReferenceMissing", "ReferenceTable", "Resolution"]
