"""The options of sites, as tables and pages show them."""

from dataclasses import FrozenInstanceError, dataclass, fields
from typing import Any

import pytest

from calbatch.cluster.sites.kinds import KINDS
from calbatch.cluster.sites.options import ClusterOptions, SlurmOptions, option

DECLARED = [
    pytest.param(kind.options, each, id=f"{name}-{each.name}")
    for name, kind in KINDS.items()
    for each in fields(kind.options)
]


def test_an_option_has_its_default_and_its_help():
    @dataclass
    class Options:
        jobs: int = option(3, "number of jobs")
        arguments: Any = option({}, "arguments")  # noqa: RUF009 - a field

    first, second = Options(), Options()
    assert first.jobs == 3
    assert [each.metadata["help"] for each in fields(Options)] == ["number of jobs", "arguments"]
    first.arguments["a"] = 1
    assert second.arguments == {}


@pytest.mark.parametrize(("kind", "declared"), DECLARED)
def test_each_option_is_explained_in_one_line(kind, declared):
    text = declared.metadata["help"]
    assert 0 < len(text) <= 80
    assert "\n" not in text
    assert not text.endswith(".")


@pytest.mark.parametrize("kind", [kind.options for kind in KINDS.values()])
def test_options_cannot_be_changed(kind):
    options = kind()
    with pytest.raises(FrozenInstanceError):
        setattr(options, fields(kind)[0].name, None)


def test_the_defaults_are_safe():
    assert SlurmOptions().encrypted
    for kind in KINDS.values():
        assert getattr(kind.options(), "insecure", False) is False
    assert ClusterOptions().arguments == {}
