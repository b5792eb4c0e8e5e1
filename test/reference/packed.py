"""Packed events for tests."""

import numpy as np
import torch

from eventspd_ros.events.packing import pack_events


def packed(window, count: int) -> torch.Tensor:
    """A window's events, padded to count."""
    array = np.empty(count, np.int32)
    assert pack_events(window, array)
    return torch.from_numpy(array)
