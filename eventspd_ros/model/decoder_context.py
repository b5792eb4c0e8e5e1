"""What the decoder keeps of a window: the result of A3, the input of B1–B5."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from eventspd_ros.model.attention import TokenProjections


@dataclass(frozen=True)
class DecoderContext:
    """What A3 leaves for all queries of B windows; tables are those of table_read.py. Unused parts have no rows.

    PooledContext reads a table for each level, as wide as the level: fine those it pools, coarse the others.

    T: cells of the coarsest level, H heads, E = D / H.
    """

    fine: tuple[Tensor, ...]  # L1's table (B, rows, C_1)
    coarse: tuple[Tensor, ...]  # tokens of L2 … L4 with their embeddings (B, rows, D)
    keys: Tensor  # of B3 (B, layers, H, T, E)
    values: Tensor
    anchors: Tensor  # W_u W_g G + b_u of Eq. 14 (B, T, D)
    reads: Tensor  # W_V F of Eq. 18, L2 … L4 (B, rows, D)
    local: TokenProjections | None  # of B2's layers, with LN_kv in them
    fused: TokenProjections | None  # of B5's
    cells_hw: tuple[tuple[int, int], ...]  # of every level
    sensor_hw: tuple[int, int]  # pixels
