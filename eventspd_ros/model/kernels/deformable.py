"""B4's read: from offsets and logits to the weighted sum of table rows in one kernel, Eqs. 15–19.

PyTorch writes rows and weights of all corners (48 a head and anchor) before they are read; here a program takes one
head of one anchor, and they stay in registers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.deformable_read import DeformableRead
from eventspd_ros.model.geometry import cell_centres_px
from eventspd_ros.model.kernels.product import INTERPRETED, rounded
from eventspd_ros.model.table_read import AFTER, BEFORE


@triton.jit
def _read(
    heads_out, anchors_px, table, strides, widths, heights, out, anchors, table_rows,
    LEVEL: tl.constexpr, HEADS: tl.constexpr, S: tl.constexpr, SP: tl.constexpr, E: tl.constexpr,
    EP: tl.constexpr, PAD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    anchor, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    window = anchor // anchors
    sample, channel = tl.arange(0, SP), tl.arange(0, EP)
    real, inside = sample < S, channel < E
    column, width = head * S + sample, HEADS * S
    offset_x = tl.load(heads_out + anchor * 3 * width + column, mask=real, other=0.0)
    offset_y = tl.load(heads_out + anchor * 3 * width + width + column, mask=real, other=0.0)
    beta = tl.load(heads_out + anchor * 3 * width + 2 * width + column, mask=real, other=float("-inf"))
    share = tl.exp(beta - tl.max(beta, 0))
    share = share / tl.sum(share, 0)
    stride = tl.load(strides + sample, mask=real, other=1.0)
    columns = tl.load(widths + sample, mask=real, other=1.0)
    rows = tl.load(heights + sample, mask=real, other=1.0)
    # The maps of the levels before a sample's own stand before it in the table.
    first = tl.zeros((SP,), tl.float32)
    for level in tl.static_range(S // LEVEL):
        size = (tl.load(widths + level * LEVEL) + PAD) * (tl.load(heights + level * LEVEL) + PAD)
        first += tl.where(sample // LEVEL > level, size, 0.0)
    first = first.to(tl.int64)
    x = (tl.load(anchors_px + 2 * anchor) + 0.5) / stride + offset_x
    y = (tl.load(anchors_px + 2 * anchor + 1) + 0.5) / stride + offset_y
    # minimum, then maximum: a coordinate that is not finite rests inside the table.
    x = tl.maximum(tl.minimum(x, columns + 0.5), -0.5) + 0.5
    y = tl.maximum(tl.minimum(y, rows + 0.5), -0.5) + 0.5
    left, top = tl.floor(x), tl.floor(y)
    part_x, part_y = x - left, y - top
    step = (columns + PAD).to(tl.int64)
    total = tl.zeros((EP,), tl.float32)
    for corner in tl.static_range(4):
        right, down = corner % 2, corner // 2
        row = first + (top.to(tl.int64) + down) * step + left.to(tl.int64) + right
        weight = share * (part_x if right else 1.0 - part_x) * (part_y if down else 1.0 - part_y)
        at = ((window * table_rows + row) * HEADS + head)[:, None] * E + channel[None, :]
        value = tl.load(table + at, mask=real[:, None] & inside[None, :], other=0.0).to(tl.float32)
        total += tl.sum(tl.where(real[:, None], weight[:, None] * value, 0.0), 0)
    at = (anchor * HEADS + head) * E + channel
    tl.store(out + at, rounded(total, out, WIDE), mask=inside)


class FusedDeformableRead:
    """What DeformableRead.forward() does between u_r and W_O: B4's own module, with its read replaced."""

    def __init__(self, module: DeformableRead):
        self.module = module

    @torch.compiler.disable  # a break in the graph costs nothing once it is captured
    def __call__(self, context: DecoderContext, h: Tensor, uv_px: Tensor, routed: Tensor) -> Tensor:
        """As DeformableRead.forward()."""
        module, cells_hw = self.module, context.cells_hw[1:]
        anchors_px = cell_centres_px(module.strides[-1], cells_hw[-1], uv_px.device)[routed]
        u = module._condition(context, h, anchors_px - uv_px.unsqueeze(2), routed)
        read = self.read(context.reads, u.flatten(0, 2), anchors_px.reshape(-1, 2), cells_hw)
        return module.out(read.view(*routed.shape, -1))

    def read(self, table: Tensor, u: Tensor, anchors_px: Tensor, cells_hw: Sequence[tuple[int, int]]) -> Tensor:
        """table (B, T, D), u (n, D), anchors_px (n, 2) -> (n, D). Cells are clamped as table_read.py does for zeros
        padding: BEFORE = 1 cell before the map, AFTER = 2 behind it."""
        assert BEFORE == 1, "the kernel's + 0.5 is BEFORE − 0.5"
        windows, table_rows, dim = table.shape
        heads, count = self.module.heads, anchors_px.shape[0]
        with torch.autocast(u.device.type, enabled=False):
            columns = torch.cat(self.module._heads(u), dim=-1).float()  # Δp's x, its y and β, each (n, H·S)
            stride, width, height, *_ = self.module._constants(cells_hw, columns)
        samples = stride.shape[0] // heads
        out = table.new_empty(count, dim)
        _read[(count, heads)](
            columns, anchors_px.float().contiguous(), table.contiguous(), stride, width, height, out,
            count // windows, table_rows, LEVEL=self.module.samples, HEADS=heads, S=samples,
            SP=triton.next_power_of_2(samples), E=dim // heads, EP=triton.next_power_of_2(dim // heads),
            PAD=BEFORE + AFTER, WIDE=INTERPRETED,
        )  # fmt: skip
        return out
