"""H probes of a query and its normalised tokens: scores, softmax and context in one kernel (B2 and B5, attention.py).

A program takes one query, walks over its tokens in blocks and keeps a running softmax (Milakov and Gimelshein, arXiv
1805.02867). Further tokens can be gathered from a table, normalised and written on the way (B1's coarse tokens).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from eventspd_ros.model.blocks import EPS
from eventspd_ros.model.kernels.product import INTERPRETED, product, rounded

TOKENS = 32  # of a block
PROBES = 16  # the least that a matrix product takes


@triton.jit
def _attend(
    probe, first, second, table, rows, weights, context, heads, table_rows, queries, eps,
    FIRST: tl.constexpr, COUNT: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, HP: tl.constexpr,
    CORNERS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0).to(tl.int64)
    channel, head = tl.arange(0, DP), tl.arange(0, HP)
    inside = channel < D
    probe_mask = (head < heads)[:, None] & inside[None, :]
    probe_at = (query * heads + head[:, None]) * D + channel[None, :]
    q = tl.load(probe + probe_at, mask=probe_mask, other=0.0)
    highest = tl.full((HP,), float("-inf"), tl.float32)
    share = tl.zeros((HP,), tl.float32)
    total = tl.zeros((HP, DP), tl.float32)
    for start in range(0, COUNT, BLOCK):
        token = start + tl.arange(0, BLOCK)
        real, later = token < COUNT, token >= FIRST
        at = (query * FIRST + token[:, None]) * D + channel[None, :]
        x = tl.load(first + at, mask=(token < FIRST)[:, None] & inside[None, :], other=0.0).to(tl.float32)
        if CORNERS > 0:
            place = query * (COUNT - FIRST) + token - FIRST
            gathered = tl.zeros((BLOCK, DP), tl.float32)
            mask = (later & real)[:, None] & inside[None, :]
            for corner in tl.static_range(CORNERS):
                row = tl.load(rows + place * CORNERS + corner, mask=later & real, other=0).to(tl.int64)
                row += query // queries * table_rows
                weight = tl.load(weights + place * CORNERS + corner, mask=later & real, other=0.0).to(tl.float32)
                read = tl.load(table + row[:, None] * D + channel[None, :], mask=mask, other=0.0)
                gathered += weight[:, None] * read.to(tl.float32)
            mean = tl.sum(gathered, 1) / D
            off = tl.where(inside[None, :], gathered - mean[:, None], 0.0)
            gathered = off * tl.rsqrt(tl.sum(off * off, 1) / D + eps)[:, None]
            tl.store(second + place[:, None] * D + channel[None, :], rounded(gathered, second, WIDE), mask=mask)
            x += gathered
        x = rounded(x, first, WIDE)
        scores = product(q, tl.trans(x), WIDE)
        scores = tl.where(real[None, :], scores, float("-inf"))
        rising = tl.maximum(highest, tl.max(scores, 1))
        kept = tl.exp(highest - rising)
        exponential = tl.exp(scores - rising[:, None])
        share = share * kept + tl.sum(exponential, 1)
        part = product(rounded(exponential, first, WIDE), x, WIDE)
        total = total * kept[:, None] + part
        highest = rising
    total = total / share[:, None]
    tl.store(context + probe_at, rounded(total, context, WIDE), mask=probe_mask)


def attend(probe: Tensor, tokens: Tensor) -> Tensor:
    """probe (N, H, D), normalised tokens x̂ (N, T, D) -> Σ a_i x̂_i, (N, H, D)."""
    return _launch(probe, tokens, tokens[:, :0], (tokens,) * 3, 0)


def gather_attend(probe: Tensor, first: Tensor, table: Tensor, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """As attend(), with Q more tokens, gathered and normalised: table (B, T, D), rows (B, K, Q, 5) int32.

    Returns the context and these tokens (N, Q, D), N = B·K, for the layers that follow.
    """
    second = first.new_empty(len(probe), rows.shape[2], first.shape[2])
    gather = (table.contiguous(), rows.contiguous(), weights.contiguous())
    return _launch(probe, first, second, gather, rows.shape[3], table.shape[1], rows.shape[1]), second


def _launch(
    probe: Tensor,
    first: Tensor,
    second: Tensor,
    gather: tuple[Tensor, Tensor, Tensor],
    corners: int,
    table_rows: int = 0,
    queries: int = 1,
) -> Tensor:
    probe, first = probe.contiguous(), first.to(probe.dtype).contiguous()
    number, heads, dim = probe.shape
    context = torch.empty_like(probe)
    _attend[(number,)](
        probe, first, second, *gather, context, heads, table_rows, queries, EPS,
        FIRST=first.shape[1], COUNT=first.shape[1] + second.shape[1], D=dim, DP=triton.next_power_of_2(max(dim, 16)),
        HP=max(PROBES, triton.next_power_of_2(heads)), CORNERS=corners, BLOCK=TOKENS,
        WIDE=INTERPRETED,
    )  # fmt: skip
    return context
