"""Fixtures shared by every test."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real files, or skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CALBATCH_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set CALBATCH_REAL_DATA)")
    return folder
