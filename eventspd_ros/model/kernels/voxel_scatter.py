"""A1's field: packed events -> two table rows a level, weighted, added to their pixel, in one kernel.

PyTorch writes rows, weights and encodings of every event before it adds them; here an event is one program lane that
reads 4 bytes, its rows and weights (a few hundred bytes, mostly cached) and adds 8 numbers to its pixel.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eventspd_ros.events.packing import BIN_BITS, PADDING

EVENTS = 128  # a program


@triton.jit
def _scatter(
    packed, table, node_index, node_weight, field, count, nodes, bins,
    FEATURES: tl.constexpr, CHANNELS: tl.constexpr, BITS: tl.constexpr, MASK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    event = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = tl.load(packed + event, mask=event < count, other=MASK)
    age_bin, pixel = word & MASK, (word >> BITS).to(tl.int64)
    real = (age_bin < bins)[:, None]
    channel = tl.arange(0, CHANNELS)[None, :]
    level, feature = channel // FEATURES, channel % FEATURES
    pair = (age_bin[:, None] * (CHANNELS // FEATURES) + level) * 2
    encoded = tl.zeros((BLOCK, CHANNELS), tl.float32)
    for side in tl.static_range(2):
        node = tl.load(node_index + pair + side, mask=real, other=0)
        weight = tl.load(node_weight + pair + side, mask=real, other=0.0)
        row = pixel[:, None] * nodes + node
        encoded += weight * tl.load(table + row * FEATURES + feature, mask=real, other=0.0)
    tl.atomic_add(field + pixel[:, None] * CHANNELS + channel, encoded, mask=real)


def voxel_scatter(packed: Tensor, table: Tensor, node_index: Tensor, node_weight: Tensor, pixels: int) -> Tensor:
    """packed (N,) int32, table (pixels·nodes, F), node_index and node_weight (bins, L, 2) -> field (pixels, L·F)."""
    bins, levels, _ = node_index.shape
    features = table.shape[1]
    field = torch.zeros(pixels, levels * features, device=packed.device)
    _scatter[(triton.cdiv(packed.shape[0], EVENTS),)](
        packed, table, node_index, node_weight, field, packed.shape[0], table.shape[0] // pixels, bins,
        FEATURES=features, CHANNELS=levels * features, BITS=BIN_BITS, MASK=PADDING, BLOCK=EVENTS,
    )  # fmt: skip
    return field
