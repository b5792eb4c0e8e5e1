"""What a run leaves: config.yaml, metrics.json, scalars for TensorBoard, pictures, checkpoints.

    RUN/config.yaml         what was asked for; a run resumes only with the same
    RUN/metrics.json        versions, every validation and the mean losses since the one before
    RUN/checkpoints/        last.ckpt and previous.ckpt (everything needed to go on), last.safetensors,
                            best.safetensors (weights to ship or to start from)
    RUN/pictures/, RUN/tensorboard/

Checkpoints are read with weights_only=True: tensors, numbers and strings, no pickled objects.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eventspd_ros import __version__
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.text import one_line
from eventspd_ros.whole import whole_file, write_whole


class RunFolder:
    """A run's folder on the process that writes. Every write is whole or not at all."""

    def __init__(self, path: Path, config_yaml: str):
        """ValueError: the folder holds a run of another config. OSError: it cannot be written."""
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        stored = self.path / "config.yaml"
        if stored.exists() and stored.read_text() != config_yaml:
            raise ValueError(f"{stored}: this folder holds a run of another config; choose another --out")
        if not stored.exists():
            write_whole(stored, config_yaml)
        self._scalars = None
        self._painter = ThreadPoolExecutor(1)
        self._picture: Future | None = None

    def save_state(self, state: dict[str, Any]) -> None:
        """last.ckpt, the one before kept as previous.ckpt."""
        last = self.checkpoints / "last.ckpt"
        try:
            with whole_file(last) as unfinished:
                torch.save(state, unfinished)
                if last.exists():
                    os.replace(last, self.checkpoints / "previous.ckpt")
        except (OSError, RuntimeError) as error:  # torch.save turns a full disk into a RuntimeError
            raise OSError(f"{last}: cannot be written ({one_line(error, 160)})") from None

    def save_model(self, model: nn.Module, name: str) -> None:
        """Weights alone, as save_checkpoint() stores them."""
        path = self.checkpoints / f"{name}.safetensors"
        try:
            save_checkpoint(model, path)
        except Exception as error:
            raise OSError(f"{path}: cannot be written ({one_line(error, 160)})") from None

    def write_metrics(self, history: list[dict]) -> None:
        content = {"versions": code_versions(), "history": history}
        write_whole(self.path / "metrics.json", json.dumps(content, indent=1) + "\n")

    def scalars(self, values: dict[str, float], step: int) -> None:
        """To TensorBoard."""
        if self._scalars is None:
            from tensorboardX import SummaryWriter

            self._scalars = SummaryWriter(str(self.path / "tensorboard"), flush_secs=30)
        for name, value in values.items():
            self._scalars.add_scalar(name, value, step)

    def draw(self, picture: Callable[[Path], None], step: int) -> None:
        """Let a step's picture be drawn beside the training."""
        self.wait_for_picture()
        self._picture = self._painter.submit(picture, self.path / f"pictures/{step:07d}.png")

    def wait_for_picture(self) -> None:
        """Until none is being drawn. Raises what its drawing raised."""
        if self._picture is not None:
            self._picture.result()
            self._picture = None

    def close(self) -> None:
        self.wait_for_picture()
        self._painter.shutdown()
        if self._scalars is not None:
            self._scalars.close()


def load_state(path: Path) -> dict[str, Any] | None:
    """The newest readable state of a run's folder, or None for a run that starts. Every process reads it."""
    found = [path / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]
    found = [file for file in found if file.exists()]
    for file in found:
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes the restricted unpickler raise nearly anything
            print(f"{file}: cannot be read ({one_line(error, 120)}); trying the one before")
    if found:
        raise ValueError(f"{path}: no checkpoint can be read; delete the folder to start again")
    return None


def save_batch(parts: Any, path: Path) -> None:
    """What a step was given, as tensors, lists and dicts."""
    torch.save(_as_tensors(parts), path)


def _as_tensors(value: Any) -> Any:
    """Dataclasses and arrays, nested, as dicts and tensors: what weights_only=True reads."""
    if is_dataclass(value):
        return {item.name: _as_tensors(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, dict):
        return {key: _as_tensors(item) for key, item in value.items()}
    return [_as_tensors(item) for item in value] if isinstance(value, (list, tuple)) else value


def code_versions() -> dict[str, str]:
    """What ran: this package, its commit where it runs from a checkout, and the libraries that decide numbers."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip()
    except OSError:
        commit = ""
    return {
        "eventspd_ros": __version__,
        "commit": commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
