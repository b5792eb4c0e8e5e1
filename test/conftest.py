"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings, or a skip that says why."""
    folder = os.environ.get("EVENTSPD_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"EVENTSPD_TEST_DATA={folder!r} is not a folder of real recordings")
    return Path(folder)
