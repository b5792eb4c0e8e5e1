"""Where a model runs, by the name that a user gives."""

from __future__ import annotations

import torch

from eventspd_ros.text import first_line


def choose_device(name: str) -> torch.device:
    """auto → CUDA where there is one. ValueError, one line, names a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("of no kind that models run on")
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r}: {first_line(error)}; use auto, cpu or cuda:N") from None
