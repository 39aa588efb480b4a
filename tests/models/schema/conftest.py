"""Fixtures for tests of schemas."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a schema file."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
        return path

    return write
