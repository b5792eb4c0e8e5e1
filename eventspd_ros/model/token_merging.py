"""Token merging for L4's self-attention on large sensors, without training: off unless EventSPD.merge_tokens is set.

Attention costs N² for N cells, and a sensor four times as large has four times the cells. Before attention every cell
is merged into the most similar of M destination cells, and afterwards takes what its destination read. Destinations
are, as in FastVGGT (Shen et al., arXiv 2509.02560), reference cells, salient cells and uniformly sampled ones:

    reference   the tenth of the cells that stood out in the previous window, as its memory h tells
    salient     the tenth of the cells that stand out in this window
    uniform     the rest, spread over the map

Merged keys count as often as they stand for cells (Bolya et al., arXiv 2210.09461, Eq. 1), so that cells which are
alike are merged without any change of the result.

Shapes: B windows, N cells, M destinations, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 0.75  # of the cells may be merged away: a quarter leaves room for reference, salient and uniform cells
STANDING_OUT = 0.1


@dataclass(frozen=True)
class Merging:
    """Which cells stand for which: target (B, N) int64, a number below M, and sizes (B, M), cells of each."""

    target: Tensor
    sizes: Tensor

    def merge(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> the mean of every destination's cells (B, M, C)."""
        sums = tokens.new_zeros(*self.sizes.shape, tokens.shape[-1])
        sums = sums.scatter_add(1, self.target.unsqueeze(-1).expand(tokens.shape), tokens)
        return sums / self.sizes.to(tokens.dtype).unsqueeze(-1)

    def unmerge(self, merged: Tensor) -> Tensor:
        """(B, M, C) -> (B, N, C), every cell with what its destination holds."""
        return merged.gather(1, self.target.unsqueeze(-1).expand(-1, -1, merged.shape[-1]))

    def score_bias(self, dtype: torch.dtype) -> Tensor:
        """log of the sizes, for attention scores: (B, 1, 1, M)."""
        return self.sizes.log().to(dtype)[:, None, None]


def check_share(share: float) -> float:
    """The share of cells to merge away, as it is; ValueError outside 0…0.75."""
    if not 0.0 <= share <= MOST:
        raise ValueError(f"merge_tokens = {share}: expected a share of the cells from 0 (off) to {MOST}")
    return share


def plan_merging(tokens: Tensor, cells_hw: tuple[int, int], share: float, memory: Tensor | None) -> Merging:
    """tokens (B, N, C) of a map of cells_hw, h (B, C, H, W) of the previous window or None -> M = N − ⌊share·N⌋."""
    tokens = tokens.float()
    priority = _uniform(cells_hw, tokens.device) + 2 * _stands_out(tokens)
    if memory is not None:
        priority = priority + 4 * _stands_out(memory.float().flatten(2).transpose(1, 2))
    kept = priority.topk(tokens.shape[1] - int(share * tokens.shape[1]), dim=-1).indices
    unit = F.normalize(tokens, dim=-1)
    similarity = unit @ unit.gather(1, kept.unsqueeze(-1).expand(-1, -1, unit.shape[-1])).transpose(1, 2)
    own = torch.arange(kept.shape[1], device=kept.device).expand_as(kept)
    target = similarity.argmax(-1).scatter(1, kept, own)  # a destination is its own, whatever rounding says
    sizes = torch.zeros_like(kept, dtype=torch.float32)
    return Merging(target, sizes.scatter_add(1, target, torch.ones_like(target, dtype=torch.float32)))


def _stands_out(tokens: Tensor) -> Tensor:
    """1 for the tenth of the cells furthest from the mean cell, 0 for others and where all are alike: (B, N)."""
    distance = (tokens - tokens.mean(dim=1, keepdim=True)).norm(dim=-1)
    most = distance.topk(int(STANDING_OUT * tokens.shape[1]), dim=-1)
    return torch.zeros_like(distance).scatter(1, most.indices, (most.values > 0).to(distance.dtype))


def _uniform(cells_hw: tuple[int, int], device: torch.device) -> Tensor:
    """A number from 0 to 1 for every cell, (N,): cells above any threshold are spread evenly over the map.

    The R2 sequence as a dither (M. Roberts, http://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences).
    """
    rows, columns = cells_hw
    y, x = torch.arange(rows, device=device)[:, None], torch.arange(columns, device=device)
    return (0.754877666 * x + 0.569840291 * y).frac().flatten()
