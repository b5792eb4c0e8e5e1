"""Window attention written cell by cell: the oracle of blocks.SwinBlock (arXiv 2103.14030, §3.2)."""

import torch
from torch import nn


def attention(x: torch.Tensor, block: nn.Module) -> torch.Tensor:
    """What block adds for its attention: x (H, W, C) -> (H, W, C).

    A cell belongs to window (⌊(r − s)/w⌋, ⌊(c − s)/w⌋): windows cut off by the map's edge are simply smaller, so
    there is no padding and nothing wraps around. A side of at most one window is not shifted.
    """
    rows, columns, channels = x.shape
    size, heads = block.window, block.heads
    shift_r = block.shift if rows > size else 0
    shift_c = block.shift if columns > size else 0
    width = channels // heads
    query, key, value = block.qkv(block.norm1(x)).reshape(rows, columns, 3, heads, width).unbind(2)
    out = torch.zeros(rows, columns, heads, width)
    for r in range(rows):
        for c in range(columns):
            same = [
                (i, j)
                for i in range(rows)
                for j in range(columns)
                if (i - shift_r) // size == (r - shift_r) // size and (j - shift_c) // size == (c - shift_c) // size
            ]
            for head in range(heads):
                scores = torch.stack(
                    [
                        query[r, c, head] @ key[i, j, head] / width**0.5
                        + block.position_bias[(r - i + size - 1) * (2 * size - 1) + (c - j + size - 1), head]
                        for i, j in same
                    ]
                )
                for weight, (i, j) in zip(scores.softmax(0), same, strict=True):
                    out[r, c, head] += weight * value[i, j, head]
    return block.out(out.reshape(rows, columns, channels))
