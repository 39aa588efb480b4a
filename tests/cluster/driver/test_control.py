"""Stop requests through a control file."""

import stat

import pytest

from calbatch.cluster.driver.control import (
    StopRequest,
    read_stop_request,
    request_stop,
    withdraw_stop_request,
)


@pytest.mark.parametrize("request_", list(StopRequest))
def test_a_request_is_read_until_it_is_withdrawn(tmp_path, request_):
    path = tmp_path / "control"
    assert read_stop_request(path) is None
    request_stop(path, request_)
    assert read_stop_request(path) is request_
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    withdraw_stop_request(path)
    withdraw_stop_request(path)
    assert read_stop_request(path) is None


def test_the_latest_request_counts(tmp_path):
    request_stop(tmp_path / "control", StopRequest.DRAIN)
    request_stop(tmp_path / "control", StopRequest.NOW)
    assert read_stop_request(tmp_path / "control") is StopRequest.NOW


@pytest.mark.parametrize("content", [b"", b"soon\n", b"\xff\xfe"])
def test_a_damaged_file_requests_nothing(tmp_path, content):
    (tmp_path / "control").write_bytes(content)
    assert read_stop_request(tmp_path / "control") is None


def test_a_batch_without_a_control_file_is_never_stopped():
    assert read_stop_request(None) is None
