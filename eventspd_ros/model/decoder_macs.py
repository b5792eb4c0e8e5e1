"""Multiply-accumulates of the query decoder, by stage: as it runs, and as the architecture document writes it.

Counted are matrix products, attention products and the weighted sums of bilinear reads ("reads"; the document does not
count those of B4). Not counted are norms, activations, softmax and the arithmetic of coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.local_tokens import OFFSET_FREQUENCIES, QUERY_FREQUENCIES

FFN_EXPANSION = 4
CORNERS = 4


def macs_per_query(config: DecoderConfig, coarsest_cells: int = 880) -> dict[str, int]:
    """Of one query as query_decoder.py decodes it: keys b1 … b5, reads, total."""
    dim, tokens, anchors = config.dim, config.local_tokens, _anchors(config, coarsest_cells)

    def attend(count: int) -> int:
        # W_Q, W_Kᵀ q, W_V and W_O are one D × D product each; scores and context meet whole tokens, once a head.
        return 4 * dim * dim + 2 * config.heads * count * dim + _feed_forward(dim)

    samples = _samples(config, anchors)
    coarse = sum(config.tokens_by_level[1:])
    counts = {
        "b1": _fine_tokens(config),
        "b2": config.local_layers * attend(tokens),
        "b3": _cell_layers(config, coarsest_cells),
        "b4": _anchor_heads(config, anchors) + (dim * dim + anchors * 4 * QUERY_FREQUENCIES * dim if anchors else 0),
        "b5": config.fused_layers * attend(tokens + anchors) + _depth_mlp(dim),
        "reads": _fine_reads(config) + (CORNERS + 1) * coarse * dim + CORNERS * samples * (dim // config.heads),
    }
    return {**counts, "total": sum(counts.values())}


def macs_per_query_reference(config: DecoderConfig, coarsest_cells: int = 880) -> dict[str, int]:
    """Of one query where every token is projected for every layer, as Eqs. 6–25 are written; the same keys."""
    dim, tokens, anchors = config.dim, config.local_tokens, _anchors(config, coarsest_cells)

    def attend(count: int) -> int:
        return 2 * dim * dim + 2 * count * dim * dim + 2 * count * dim + _feed_forward(dim)

    samples = _samples(config, anchors)
    coarse = list(zip(config.tokens_by_level[1:], config.channels[1:], strict=True))
    projections = sum(count * channels * dim for count, channels in coarse if channels != dim)
    counts = {
        "b1": _fine_tokens(config) + projections,
        "b2": config.local_layers * attend(tokens),
        "b3": _cell_layers(config, coarsest_cells),
        "b4": _anchor_heads(config, anchors) + anchors * (2 * dim + 4 * QUERY_FREQUENCIES) * dim,
        "b5": config.fused_layers * attend(tokens + anchors) + _depth_mlp(dim),
        "reads": _fine_reads(config)
        + CORNERS * sum(count * channels for count, channels in coarse)
        + (CORNERS + 1) * samples * (dim // config.heads),
    }
    return {**counts, "total": sum(counts.values())}


def macs_precompute(config: DecoderConfig, cells: Sequence[int]) -> int:
    """Of Phase A's share of the decoder, once a window; cells: of every level, finest first."""
    dim, coarsest = config.dim, cells[-1] * config.channels[-1] * config.dim
    total = 2 * config.global_layers * coarsest
    total += (config.local_layers + config.fused_layers) * dim * dim  # W_V β
    for level in range(1, len(cells)):
        if config.local_radius[level] >= 0 and config.channels[level] != dim:
            total += cells[level] * config.channels[level] * dim
    if config.anchors:
        total += coarsest + cells[-1] * dim * dim  # W_g, then W_u's part
        total += sum(count * channels * dim for count, channels in zip(cells[1:], config.channels[1:], strict=True))
    return total


def _anchors(config: DecoderConfig, coarsest_cells: int) -> int:
    return config.anchor_count(coarsest_cells) if config.anchors else 0


def _samples(config: DecoderConfig, anchors: int) -> int:
    """Lookups of B4: 2,304."""
    return anchors * config.heads * (len(config.channels) - 1) * config.samples


def _fine_reads(config: DecoderConfig) -> int:
    fine_grid = (2 * max(config.local_radius[0], 0) + 1) ** 2
    return CORNERS * (fine_grid + config.adaptive_points) * config.channels[0]


def _fine_tokens(config: DecoderConfig) -> int:
    """W_q, W_off and W_loc, alike in both forms."""
    channels, dim = config.channels[0], config.dim
    seed = (channels + 4 * QUERY_FREQUENCIES) * dim
    tokens = config.tokens_by_level[0] * (channels + 4 * OFFSET_FREQUENCIES) * dim
    return seed + 2 * config.adaptive_points * channels + tokens


def _cell_layers(config: DecoderConfig, cells: int) -> int:
    """B3, alike in both forms: its keys and values are A3's."""
    dim = config.dim
    return config.global_layers * (2 * dim * dim + 2 * cells * dim + _feed_forward(dim))


def _anchor_heads(config: DecoderConfig, anchors: int) -> int:
    """W^Δ, W^a and W_O of B4, alike in both forms."""
    return 3 * _samples(config, anchors) * config.dim + anchors * config.dim**2


def _feed_forward(dim: int) -> int:
    return 2 * FFN_EXPANSION * dim * dim


def _depth_mlp(dim: int) -> int:
    """Eq. 25 and the deviation's head."""
    return 2 * dim * dim + 2 * dim + dim
