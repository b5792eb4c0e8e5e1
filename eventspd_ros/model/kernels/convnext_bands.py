"""convnext.py's block in other passes, off until they are timed on a GPU. Whichever form is slower there goes.

    depthwise  by bands of rows: a cell is loaded once a lane, and used for the k×k outputs around it
    squares    LN, in place; MLP's first layer → GELU, of which only Σ squares by channel are kept
    fold       GRN's scale into the second layer's weights
    project    MLP's first layer → GELU again → second layer → + x

On paper (instructions from ptxas for sm_90; an H200 has 132 SMs of 128 lanes and 64 K registers, at 1.7 GHz):

- depthwise, k = 7: a lane holds one channel of 8 neighbouring columns, 56 sums of the 7 output rows that an input row
  is part of, 14 inputs, all 49 taps: 164 registers, so 3 programs of 128 lanes an SM. A row of 8 outputs takes 14 loads
  of 2 bytes (1.75 an output, where convnext.py's _first takes 49) and 583 instructions, 392 of them multiply-adds.
  360×640×64: 723 M multiply-adds, 25 µs at best, 43 so; 59 MB, 14 µs; no shared memory, no exchange between lanes.
- k = 13: 104 sums and 20 inputs leave no room for 169 taps, which are loaded where they are used, one a lane for 8
  multiply-adds: 168 registers. 90×160×128: 312 M multiply-adds, 11 µs at best; so 20, in bands of 7 rows, 2 programs an
  SM, and 23 in bands of 5, 3 programs, as each walks 12 rows beside its own.
- GELU: erf's two branches take some 32 of the 44 instructions of a hidden value in each of _first and _second, 45 µs a
  pass of 360×640×128: more than the bytes, more than the products. The polynomial takes 18 and GRN's scale in the
  weights none: 30 instructions a value in squares, 24 in project; with the rest of them 39 and 32 µs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eventspd_ros.model.blocks import EPS, ConvNeXtBlock
from eventspd_ros.model.kernels.convnext import CELLS, HIDDEN, FusedConvNeXt, layer_norm
from eventspd_ros.model.kernels.product import INTERPRETED, product, rounded

COLUMNS, LANES = 8, 128  # of the depthwise pass: a lane's columns, a program's lanes
MOST_HELD = 7  # the largest k whose k² taps stay in registers
PROGRAMS = {True: 3, False: 2}  # of an SM at once: with taps held, as registers allow, and without


@triton.jit
def _depthwise(
    x, taps, tap_bias, out, squares, rows, columns, strips, bands, height,
    C: tl.constexpr, CP: tl.constexpr, K: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, P: tl.constexpr,
    GROUPS: tl.constexpr, HELD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    strip, band = tl.program_id(0) % strips, tl.program_id(0) // strips % bands
    batch = tl.program_id(0) // (strips * bands)
    hidden = tl.arange(0, HP)  # what the next pass adds to starts at zero
    tl.store(squares + batch * H + hidden, tl.zeros((HP,), tl.float32), mask=(hidden < H) & (strip + band == 0))
    column = (strip * GROUPS + tl.arange(0, GROUPS)[:, None]) * P
    channel = tl.arange(0, CP)[None, :] + 0 * column  # of a whole tile, so that no tap passes from lane to lane
    inside = channel < C
    held = ()
    for index in tl.static_range(K * K if HELD else 0):
        held = held + (tl.load(taps + index * C + channel, mask=inside, other=0.0),)
    bias = tl.load(tap_bias + channel, mask=inside, other=0.0).to(tl.float32)
    sums = ()
    for _ in tl.static_range(K * P):
        sums = sums + (bias,)
    first_row = band * height
    count = tl.minimum(height, rows - first_row)
    map_start = (batch * rows).to(tl.int64) * columns * C
    for source_row in range(tl.maximum(first_row - K // 2, 0), first_row + count + K // 2):
        at = x + map_start + (source_row * columns + column) * C + channel
        width = tl.where(source_row < rows, columns, 0).to(tl.uint32)  # and no number below zero is less than that
        values = ()
        for side in tl.static_range(P + K - 1):
            there = ((column + (side - K // 2)).to(tl.uint32) < width) & inside
            values = values + (tl.load(at + (side - K // 2) * C, mask=there, other=0.0).to(tl.float32),)
        # The sums are those of rows source_row − K // 2 to source_row + K // 2, P columns of each.
        added = ()
        for slot in tl.static_range(K):
            of_row = sums[slot * P : slot * P + P]
            if (source_row - K // 2 + slot - first_row).to(tl.uint32) < count.to(tl.uint32):
                for tap_column in tl.static_range(K):
                    if HELD:
                        tap = held[(K - 1 - slot) * K + tap_column]
                    else:
                        tap = tl.load(taps + ((K - 1 - slot) * K + tap_column) * C + channel, mask=inside, other=0.0)
                    more = ()
                    for side in tl.static_range(P):
                        more = more + (of_row[side] + values[side + tap_column] * tap,)
                    of_row = more
            added = added + of_row
        row = source_row - K // 2
        at = out + map_start + (row * columns + column) * C + channel
        for side in tl.static_range(P):
            mask = (column + side < columns) & (row >= first_row) & inside
            tl.store(at + side * C, rounded(added[side], out, WIDE), mask=mask)
        sums = added[P:]
        for _ in tl.static_range(P):
            sums = sums + (bias,)


@triton.jit
def _gelu(x):
    """x·Φ(x), Φ(x) = ½ + x·p(x²) up to |x| = 5: minimax of degree 12, within 1.1e-6 there and 4e-7·|x| beyond."""
    near = tl.minimum(tl.maximum(x, -5.0), 5.0)
    u = near * near * 0.08 - 1.0
    p = 0.000493081228 * u - 0.00151431002
    p = p * u + 0.00200166111
    p = p * u - 0.00291534676
    p = p * u + 0.00616553659
    p = p * u - 0.0109734731
    p = p * u + 0.0164976455
    p = p * u - 0.0233366564
    p = p * u + 0.0314262249
    p = p * u - 0.0404329598
    p = p * u + 0.0515214205
    p = p * u - 0.0702966526
    p = p * u + 0.141363785
    return x * (near * p + 0.5)


@triton.jit
def _squares(
    normed, gamma, beta, w1, b1, squares, cells, tiles, eps,
    C: tl.constexpr, CP: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    tile, batch = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    cell, channel = tile * BLOCK + tl.arange(0, BLOCK), tl.arange(0, CP)
    real, inside = cell < cells, channel < C
    mask = real[:, None] & inside[None, :]
    at = normed + (batch * cells).to(tl.int64) * C + cell[:, None] * C + channel[None, :]
    y = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    y = rounded(layer_norm(y, inside, gamma, beta, channel, eps, C), normed, WIDE)
    tl.store(at, y, mask=mask)
    for start in range(0, H, STEP):
        hidden = start + tl.arange(0, STEP)
        used = hidden < H
        weight = tl.load(w1 + channel[:, None] * H + hidden[None, :], mask=inside[:, None] & used[None, :], other=0.0)
        bias = tl.load(b1 + hidden, mask=used, other=0.0).to(tl.float32)
        value = _gelu(product(y, weight, WIDE) + bias[None, :])
        value = tl.where(real[:, None] & used[None, :], value, 0.0)
        # Relaxed: by default each addition waits for the stores before it and empties the cache.
        tl.atomic_add(squares + batch * H + hidden, tl.sum(value * value, 0), mask=used, sem="relaxed")


@triton.jit
def _fold(
    squares, grn_gamma, w2, folded, steps, eps,
    C: tl.constexpr, CP: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, STEP: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    step, batch = tl.program_id(0) % steps, tl.program_id(0) // steps
    every, hidden, channel = tl.arange(0, HP), step * STEP + tl.arange(0, STEP), tl.arange(0, CP)
    mean = tl.sum(tl.sqrt(tl.load(squares + batch * H + every, mask=every < H, other=0.0)), 0) / H
    norm = tl.sqrt(tl.load(squares + batch * H + hidden, mask=hidden < H, other=0.0))
    scale = 1.0 + tl.load(grn_gamma + hidden, mask=hidden < H, other=0.0).to(tl.float32) * norm / (mean + eps)
    at, mask = hidden[:, None] * C + channel[None, :], (hidden < H)[:, None] & (channel < C)[None, :]
    weight = scale[:, None] * tl.load(w2 + at, mask=mask, other=0.0)
    tl.store(folded + batch * H * C + at, rounded(weight, folded, WIDE), mask=mask)


@triton.jit
def _project(
    x, normed, w1, b1, w2, b2, out, cells, tiles,
    C: tl.constexpr, CP: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    tile, batch = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    cell, channel = tile * BLOCK + tl.arange(0, BLOCK), tl.arange(0, CP)
    inside = channel < C
    mask = (cell < cells)[:, None] & inside[None, :]
    at = (batch * cells).to(tl.int64) * C + cell[:, None] * C + channel[None, :]
    y = tl.load(normed + at, mask=mask, other=0.0)
    total = tl.zeros((BLOCK, CP), tl.float32)
    for start in range(0, H, STEP):
        hidden = start + tl.arange(0, STEP)
        used = hidden < H
        weight = tl.load(w1 + channel[:, None] * H + hidden[None, :], mask=inside[:, None] & used[None, :], other=0.0)
        bias = tl.load(b1 + hidden, mask=used, other=0.0).to(tl.float32)
        value = rounded(_gelu(product(y, weight, WIDE) + bias[None, :]), w2, WIDE)
        second = w2 + (batch * H + hidden[:, None]) * C + channel[None, :]
        total += product(value, tl.load(second, mask=used[:, None] & inside[None, :], other=0.0), WIDE)
    total += tl.load(b2 + channel, mask=inside, other=0.0)[None, :]
    total += tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, rounded(total, out, WIDE), mask=mask)


def programs_at_once(device: torch.device, held: bool) -> int:
    """How many programs of the depthwise pass run on all of the device at once."""
    if device.type != "cuda":
        return 1
    return PROGRAMS[held] * torch.cuda.get_device_properties(device).multi_processor_count


class BandedConvNeXt(FusedConvNeXt):
    """A block's forward, in the passes above."""

    def __init__(self, block: ConvNeXtBlock, dtype: torch.dtype):
        super().__init__(block, dtype)
        with torch.no_grad():
            self.taps = self.taps.float()  # rounded to the type, and cast once
            self.w2 = block.pwconv2.weight.t().float().contiguous()  # rounded with GRN's scale in it, as blocks.py does
            self.b2 = (block.pwconv2.bias + block.pwconv2.weight @ block.grn.beta).float()

    @torch.compiler.disable  # a break in the graph costs nothing once it is captured
    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), channels-last, in the type given."""
        cells = x.permute(0, 2, 3, 1).to(self.dtype).contiguous()
        normed, out = torch.empty_like(cells), torch.empty_like(cells)
        squares = torch.empty(len(x), self.hidden, device=x.device)
        self._convolve(cells, normed, squares)
        self._mix(cells, normed, squares, out)
        return out.permute(0, 3, 1, 2)

    def _convolve(self, cells: Tensor, out: Tensor, squares: Tensor) -> None:
        """The depthwise pass, in as many bands as run at once: each walks k − 1 rows beside its own."""
        batch, rows, columns, channels = cells.shape
        wide, held = triton.next_power_of_2(max(channels, 16)), self.kernel <= MOST_HELD
        groups = max(1, LANES // wide)
        strips = triton.cdiv(columns, groups * COLUMNS)
        height = triton.cdiv(rows, max(1, programs_at_once(cells.device, held) // (strips * batch)))
        bands = triton.cdiv(rows, height)
        _depthwise[(batch * bands * strips,)](
            cells, self.taps, self.block.dwconv.bias, out, squares, rows, columns, strips, bands, height,
            C=channels, CP=wide, K=self.kernel, H=self.hidden, HP=triton.next_power_of_2(self.hidden), P=COLUMNS,
            GROUPS=groups, HELD=held, WIDE=INTERPRETED, num_warps=LANES // 32,
        )  # fmt: skip

    def _mix(self, cells: Tensor, normed: Tensor, squares: Tensor, out: Tensor) -> None:
        """LN and the MLP around GRN."""
        block, hidden = self.block, self.hidden
        batch, rows, columns, channels = cells.shape
        wide, tiles = triton.next_power_of_2(max(channels, 16)), triton.cdiv(rows * columns, CELLS)
        shape = {"C": channels, "CP": wide, "H": hidden, "STEP": HIDDEN, "WIDE": INTERPRETED}
        _squares[(batch * tiles,)](
            normed, block.norm.weight, block.norm.bias, self.w1, block.pwconv1.bias, squares, rows * columns, tiles,
            EPS, BLOCK=CELLS, **shape,
        )  # fmt: skip
        folded, steps = self.w1.new_empty(batch, hidden, channels), triton.cdiv(hidden, HIDDEN)
        _fold[(batch * steps,)](
            squares, block.grn.gamma, self.w2, folded, steps, EPS, HP=triton.next_power_of_2(hidden), **shape
        )
        _project[(batch * tiles,)](
            cells, normed, self.w1, block.pwconv1.bias, folded, self.b2, out, rows * columns, tiles, BLOCK=CELLS,
            **shape,
        )  # fmt: skip
