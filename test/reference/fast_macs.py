"""Multiply-accumulates of the query decoder as it runs, by formula: the twin of what model_info counts."""

from collections.abc import Sequence

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.decoder_macs import (
    CORNERS,
    _anchor_heads,
    _anchors,
    _cell_layers,
    _depth_mlp,
    _feed_forward,
    _fine_tokens,
    _pooled_context,
    _raw_reads,
    _samples,
    _seed,
)
from eventspd_ros.model.local_tokens import QUERY_FREQUENCIES


def macs_per_query(config: DecoderConfig, coarsest_cells: int = 880) -> dict[str, int]:
    """Of one query as query_decoder.py decodes it: keys b1 … b5, reads, total."""
    dim, tokens, anchors = config.dim, config.local_tokens, _anchors(config, coarsest_cells)

    def attend(count: int) -> int:
        # W_Q, W_Kᵀ q, W_V and W_O are one D × D product each; scores and context meet whole tokens, once a head.
        return 4 * dim * dim + 2 * config.heads * count * dim + _feed_forward(dim)

    samples = _samples(config, anchors)
    coarse = 0 if config.pooled_levels else sum(config.tokens_by_level[1:])
    counts = {
        "b1": _pooled_context(config) if config.pooled_levels else _fine_tokens(config, 0) + _seed(config),
        "b2": config.local_layers * attend(tokens),
        "b3": _cell_layers(config, coarsest_cells),
        "b4": _anchor_heads(config, anchors) + (dim * dim + anchors * 4 * QUERY_FREQUENCIES * dim if anchors else 0),
        "b5": config.fused_layers * attend(tokens + anchors) + _depth_mlp(config),
        "reads": _raw_reads(config) + (CORNERS + 1) * coarse * dim + CORNERS * samples * (dim // config.heads),
    }
    return {**counts, "total": sum(counts.values())}


def macs_precompute(config: DecoderConfig, cells: Sequence[int]) -> int:
    """Of Phase A's share of the decoder, once a window; cells: of every level, finest first."""
    dim, coarsest = config.dim, cells[-1] * config.channels[-1] * config.dim
    total = 2 * config.key_pairs * coarsest
    total += (config.local_layers + config.fused_layers) * dim * dim  # W_V β
    for level in range(1, len(cells)):
        if not config.pooled_levels and config.local_radius[level] >= 0 and config.channels[level] != dim:
            total += cells[level] * config.channels[level] * dim
    if config.anchors:
        total += coarsest + cells[-1] * dim * dim  # W_g, then W_u's part
        read = slice(-config.read_levels, None)
        total += sum(count * channels * dim for count, channels in zip(cells[read], config.channels[read], strict=True))
    return total
