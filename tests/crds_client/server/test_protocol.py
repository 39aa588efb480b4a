"""The protocol of the server: answers and faults."""

import pytest
from support.crds_server import CONTEXT, CrdsServer, encode_answer, make_cache

from calbatch.crds_client.answers import FileInfo, decode_packed
from calbatch.crds_client.errors import ServerError, UnsafeName
from calbatch.crds_client.server.protocol import Patience, Server

QUICK = Patience(timeout=0.5, attempts=3, delay=0.01)


@pytest.fixture
def serving(tmp_path):
    with CrdsServer(make_cache(tmp_path / "served")) as made:
        yield made


@pytest.fixture
def server(serving):
    return Server(serving.url + "/", patience=QUICK)


def test_questions_about_contexts(server):
    assert server.default_context("latest") == CONTEXT
    assert server.build_context("3.0.0") == "jwst_0001.pmap"
    assert server.context_by_date("2019-01-01") == "jwst_0001.pmap"
    assert set(server.mapping_names("jwst_0001.pmap")) == {
        "jwst_0001.pmap",
        "jwst_miri_0001.imap",
        "jwst_miri_flat_0001.rmap",
    }
    assert "META.INSTRUMENT.DETECTOR" in server.selection_parameters(CONTEXT)["miri"]


@pytest.mark.parametrize("packed", [True, False])
def test_sizes_and_sums(serving, server, packed):
    if not packed:  # without a catalogue, the server is asked about the files
        info = serving.rpc_get_server_info()
        del info["download_metadata"]
        serving.answers["get_server_info"] = info
    name = "jwst_miri_flat_0000.fits"
    known = server.file_infos([name, "jwst_miri_flat_9999.fits"])
    entry = serving.info_map()[name]
    assert known == {name: FileInfo(int(entry["size"]), entry["sha1sum"])}


def test_errors_of_the_server_are_passed_on(server):
    with pytest.raises(ServerError, match="get_nonsense: AttributeError <"):
        server.call("get_nonsense")


@pytest.mark.parametrize("fault", ["500", "stall"])
def test_transient_faults_are_retried(serving, server, fault):
    serving.rpc_faults = [fault, fault]
    assert server.default_context("latest") == CONTEXT
    assert serving.requests == [("rpc", "get_default_context")] * 3
    serving.rpc_faults = [fault] * 3
    with pytest.raises(ServerError, match="get_default_context"):
        server.default_context("latest")


def test_an_answer_that_is_not_json_is_an_error(serving, server):
    serving.rpc_faults = ["html"]
    with pytest.raises(ServerError, match="not JSON-RPC"):
        server.default_context("latest")


def test_another_observatorys_server_is_refused(serving):
    with pytest.raises(ServerError, match="jwst's, not roman's"):
        Server(serving.url, "roman", QUICK).file_infos(["x"])


def test_an_unreachable_server_is_an_error():
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:9"):
        Server("http://127.0.0.1:9", patience=QUICK).default_context("latest")


def test_only_http_is_asked():
    with pytest.raises(ServerError, match="only http"):
        Server("file:///etc", patience=QUICK).default_context("latest")


def test_names_from_the_server_are_checked(serving, server):
    serving.answers["get_mapping_names"] = ["../../secret.rmap"]
    with pytest.raises(UnsafeName):
        server.mapping_names(CONTEXT)


def test_a_context_must_be_the_name_of_one(serving, server):
    serving.answers["get_default_context"] = "jwst_miri_0001.imap"
    with pytest.raises(ServerError, match=r"expected the name of a \.pmap, not jwst_miri_0001"):
        server.default_context("latest")


def test_a_server_without_details_of_files_has_its_catalogue(serving, server, monkeypatch):
    monkeypatch.setattr(serving, "rpc_get_file_info_map", None)
    name = "jwst_miri_flat_0000.fits"
    assert set(server.file_infos([name, "jwst_miri_flat_9999.fits"])) == {name}


def test_a_server_without_details_and_catalogue_knows_no_files(serving, server, monkeypatch):
    info = serving.rpc_get_server_info()
    del info["download_metadata"]
    serving.answers["get_server_info"] = info
    monkeypatch.setattr(serving, "rpc_get_file_info_map", None)
    with pytest.raises(ServerError, match="get_file_info_map"):
        server.file_infos(["jwst_miri_flat_0000.fits"])


def test_compressed_answers_are_read():
    assert decode_packed(encode_answer({"a": [1]})) == {"a": [1]}
    assert decode_packed([1]) == [1]
    for payload in ("", "!", "AAAA", encode_answer(1)["crds_payload"][:-8]):
        with pytest.raises(ServerError, match="cannot be decompressed"):
            decode_packed({"crds_encoded": "1.0", "crds_payload": payload})


def test_the_official_variables_are_read(monkeypatch):
    monkeypatch.setenv("CRDS_CLIENT_RETRY_COUNT", "7")
    monkeypatch.setenv("CRDS_CLIENT_TIMEOUT_SECONDS", "3")
    monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "soon")
    assert Patience.from_environment() == Patience(3.0, 7, Patience.delay)


def test_proxies_of_the_environment_are_used(serving, monkeypatch):
    monkeypatch.setenv("http_proxy", serving.url)
    monkeypatch.delenv("no_proxy", raising=False)
    proxied = Server("http://crds.invalid", patience=QUICK)
    assert proxied.default_context("latest") == CONTEXT
