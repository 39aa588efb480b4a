"""The records of units and their members."""

from support.fakes import exposure_path

from calbatch.cluster.exposure.unit import Member, Unit

UNIT = Unit(3, exposure_path(3), (
    Member("science", "/in/a.fits"),
    Member("science", "/out/b.fits", 1),
    Member("background", "/out/c.fits", 1, optional=True),
    Member("background", "/out/d.fits", 2, optional=True),
))  # fmt: skip


def test_makers_are_listed_once_and_files_have_none():
    assert UNIT.makers == (1, 2)


def test_a_maker_is_needed_if_any_of_its_products_is():
    assert UNIT.needs(1)
    assert not UNIT.needs(2)
