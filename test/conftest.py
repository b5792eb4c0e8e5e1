"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Triton decides at its first import, and any test may bring that: its kernels are interpreted without a GPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings, or a skip that says why."""
    folder = os.environ.get("EVENTSPD_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"EVENTSPD_TEST_DATA={folder!r} is not a folder of real recordings")
    return Path(folder)
