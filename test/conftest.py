"""Fixtures that several rooms share."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Triton decides at its first import, and any test may bring that: its kernels are interpreted without a GPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items):
    """What needs a GPU says so where there is none."""
    if not torch.cuda.is_available():
        reason = f"no CUDA device: torch {torch.__version__} sees none here"
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))


# What pytest sets for each test; OpenCV, torch, Fabric, TensorBoard's writer and eventspd_ros.ros when first imported.
LIBRARIES_OWN = ("PYTEST_", "LD_LIBRARY_PATH", "TORCHINDUCTOR_", "_TORCHINDUCTOR_", "PYTORCH_NVML_BASED_CUDA_CHECK")
LIBRARIES_OWN += ("CRC32C_SW_MODE", "OMP_WAIT_POLICY")


@pytest.fixture(autouse=True)
def no_trace():
    """No test leaves the process other than it found it: what passes alone must pass after any other."""
    before = state_of_the_process()
    yield
    after = state_of_the_process()
    traces = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert not traces, f"this test leaves a trace in the process: {sorted(traces)}"


@pytest.fixture(autouse=True)
def plain_models(request, monkeypatch):
    """By default tests run models as they are: each has weights of its own, which would be compiled anew. What is made
    of them is tested in test/model; `fastest_models` asks for what users get."""
    if "fastest_models" not in request.fixturenames:
        monkeypatch.setattr("eventspd_ros.model.acceleration._fastest", lambda device: "eager")


@pytest.fixture
def fastest_models():
    """See plain_models."""


@pytest.fixture
def exact_convolutions(monkeypatch):
    """On a GPU, no TF32: PyTorch lets cuDNN round the operands of float32 convolutions to 10 bits of mantissa."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # which compiled models switch on, is set back too


def state_of_the_process() -> dict[str, object]:
    """What tests of other rooms depend on: the environment and more."""
    rclpy = sys.modules.get("rclpy")
    return {name: value for name, value in os.environ.items() if not name.startswith(LIBRARIES_OWN)} | {
        "folder": Path.cwd(),
        "ROS is up": rclpy is not None and rclpy.ok(),
        "threads of torch": torch.get_num_threads(),
        "number type of torch": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "on Ctrl-C": signal.getsignal(signal.SIGINT),
        "on SIGTERM": signal.getsignal(signal.SIGTERM),
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    }


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings, or a skip that says why."""
    folder = os.environ.get("EVENTSPD_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"EVENTSPD_TEST_DATA={folder!r} is not a folder of real recordings")
    return Path(folder)
