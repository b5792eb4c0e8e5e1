"""Calibration files in YAML, as Kalibr and DSEC write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from eventspd_ros.datasets.sample import Intrinsics
from eventspd_ros.readable import check_readable
from eventspd_ros.text import one_line


def read_yaml(path: Path) -> dict:
    """A YAML mapping, plain data only. ValueError, one line: missing, broken, or something else."""
    check_readable(path)
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable YAML ({one_line(error)})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a YAML mapping, found {type(values).__name__}")
    return values


def entry(path: Path, values: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers float64 of the given shape at a key like a/b/c. ValueError: missing, or of another shape."""
    found = values
    for part in key.split("/"):
        if not isinstance(found, dict) or part not in found:
            raise ValueError(f"{path}: {key}: missing")
        found = found[part]
    try:
        numbers = np.asarray(found, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {key}: not numbers of shape {shape}") from error
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"{path}: {key}: shape {numbers.shape}; expected {shape} of finite numbers")
    return numbers


def camera(path: Path, values: dict, key: str, pinhole_key: str) -> Intrinsics:
    """Intrinsics of the camera at `key`: resolution [W, H], distortion_coeffs (4), distortion_model (radtan where
    none is named), and fx, fy, cx, cy at `pinhole_key` below it."""
    width, height = entry(path, values, f"{key}/resolution", (2,)).astype(int).tolist()
    pinhole = entry(path, values, f"{key}/{pinhole_key}", (4,)).tolist()
    distortion = tuple(entry(path, values, f"{key}/distortion_coeffs", (4,)).tolist())
    found = values
    for part in key.split("/"):
        found = found[part]
    try:
        return Intrinsics(width, height, *pinhole, distortion, str(found.get("distortion_model", "radtan")))
    except ValueError as error:
        raise ValueError(f"{path}: {key}: {error}") from error
