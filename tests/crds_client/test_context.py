"""The choice of a context by name, date or default."""

import pytest

from calbatch.crds_client.cache.layout import Cache
from calbatch.crds_client.context import BUILDS, choose_context
from calbatch.crds_client.errors import ContextError, UnsafeName

RELEASE, BUILD = BUILDS["jwst"]


class Server:
    """Answers questions about contexts like a CRDS server."""

    def default_context(self, state):
        return {"latest": "jwst_0900.pmap", "edit": "jwst_0901.pmap"}[state]

    def build_context(self, version):
        assert version == RELEASE
        return "jwst_0800.pmap"

    def context_by_date(self, date):
        return f"jwst_{date[:4]}.pmap"


@pytest.fixture
def cache(tmp_path):
    made = Cache(tmp_path)
    made.mappings.mkdir(parents=True)
    made.config.mkdir(parents=True)
    for number in ("0001", "0541"):
        (made.mappings / f"jwst_{number}.pmap").touch()
    return made


def test_a_file_name_is_used_as_it_is(cache):
    assert choose_context("jwst_0003.pmap", cache).name == "jwst_0003.pmap"
    with pytest.raises(UnsafeName):
        choose_context("../jwst_0003.pmap", cache)


def test_the_default_is_the_build_context_if_it_is_cached(cache):
    (cache.mappings / BUILD).touch()
    choice = choose_context(None, cache)
    assert choice.name == BUILD
    assert RELEASE in choice.reason


def test_the_default_is_otherwise_the_latest_and_the_reason_says_so(cache):
    choice = choose_context(None, cache)
    assert choice.name == "jwst_0541.pmap"
    assert "latest" in choice.reason
    assert BUILD in choice.reason


def test_latest_is_the_servers_last_answer_if_it_is_cached(cache):
    config = cache.config / "server_config"
    config.write_text("{'operational_context': 'jwst_0001.pmap'}")
    assert choose_context("jwst-operational", cache).name == "jwst_0001.pmap"
    config.write_text("{'operational_context': 'jwst_0700.pmap'}")
    assert choose_context("latest", cache).name == "jwst_0541.pmap"


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("latest", "jwst_0900.pmap"),
        ("jwst-edit", "jwst_0901.pmap"),
        ("build", "jwst_0800.pmap"),
        (None, "jwst_0800.pmap"),
        ("2024-01-31", "jwst_2024.pmap"),
        ("jwst-2023-01-31T12:00:00", "jwst_2023.pmap"),
    ],
)
def test_a_server_is_asked(cache, wanted, name):
    assert choose_context(wanted, cache, Server()).name == name


def test_dates_are_looked_up_in_the_saved_history(real_data):
    cache = Cache(real_data / "crds")
    assert choose_context("2019-07-30T15:06:02", cache).name == "jwst_0541.pmap"
    assert choose_context("2019-07-30T15:06:01", cache).name == "jwst_0540.pmap"
    with pytest.raises(ContextError, match="no context was in use"):
        choose_context("1990-01-01", cache)


@pytest.mark.parametrize("wanted", ["newest", "hst-latest", "2024", "jwst_0541.imap"])
def test_other_words_are_rejected(cache, wanted):
    with pytest.raises(ContextError, match="is not a context"):
        choose_context(wanted, cache)


def test_an_empty_cache_without_a_server_is_an_error(tmp_path):
    with pytest.raises(ContextError, match="no context"):
        choose_context(None, Cache(tmp_path))


def test_a_context_unknown_to_server_and_cache_is_an_error(cache):
    for wanted, key in (("edit", "edit_context"), ("2024-01-31", "context_history")):
        with pytest.raises(ContextError, match=f"no {key} in the cache's server_config"):
            choose_context(wanted, cache)


def test_a_context_in_preparation_is_named_by_the_saved_description(cache):
    (cache.config / "server_config").write_text("{'edit_context': 'jwst_0700.pmap'}")
    assert choose_context("edit", cache).name == "jwst_0700.pmap"


@pytest.mark.parametrize("history", ["5", "['x']", "{1: 2}"])
def test_a_damaged_history_is_an_error(cache, history):
    (cache.config / "server_config").write_text(f"{{'context_history': {history}}}")
    with pytest.raises(ContextError, match="context_history in its server_config is not a list"):
        choose_context("2024-01-31", cache)


def test_an_observatory_without_a_known_build_uses_its_latest_context(tmp_path):
    cache = Cache(tmp_path, "hst")
    cache.mappings.mkdir(parents=True)
    (cache.mappings / "hst_0007.pmap").touch()
    choice = choose_context(None, cache)
    assert (choice.name, choice.reason) == ("hst_0007.pmap", "the latest in the cache")
    with pytest.raises(ContextError, match="no build context is known for hst"):
        choose_context("build", cache)
