"""The public names of the CRDS client."""

import pytest

from calbatch import crds_client
from calbatch.crds_client import client, errors, reference_table
from calbatch.crds_client.rules import mapping

NAMES = {
    "Client": client.Client,
    "CrdsError": errors.CrdsError,
    "ReferenceMissing": errors.ReferenceMissing,
    "ReferenceTable": reference_table.ReferenceTable,
    "Resolution": mapping.Resolution,
}


@pytest.mark.parametrize("name", crds_client.__all__)
def test_each_public_name_is_that_of_its_module(name):
    assert getattr(crds_client, name) is NAMES[name]


def test_the_public_names_are_those_that_users_need():
    assert sorted(crds_client.__all__) == sorted(NAMES)
    assert issubclass(crds_client.ReferenceMissing, crds_client.CrdsError)
