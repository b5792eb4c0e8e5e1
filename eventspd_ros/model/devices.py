"""Where a model runs, by the name that a user gives."""

from __future__ import annotations

import torch


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
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r}: {reason}; use auto, cpu or cuda:N") from None
