"""Multiply-accumulates of the query decoder, by stage, as the architecture document writes it.

Counted are matrix products, attention products and the weighted sums of bilinear reads ("reads"; the document does not
count those of B4). Not counted are norms, activations, softmax and the arithmetic of coordinates.
"""

from __future__ import annotations

from eventspd_ros.model.config import DecoderConfig
from eventspd_ros.model.local_tokens import OFFSET_FREQUENCIES, QUERY_FREQUENCIES

FFN_EXPANSION = 4
CORNERS = 4


def macs_per_query_reference(config: DecoderConfig, coarsest_cells: int = 880) -> dict[str, int]:
    """Of one query where every token is projected for every layer, as Eqs. 6–25 are written: b1 … b5, reads, total."""
    dim, tokens, anchors = config.dim, config.local_tokens, _anchors(config, coarsest_cells)

    def attend(count: int) -> int:
        return 2 * dim * dim + 2 * count * dim * dim + 2 * count * dim + _feed_forward(dim)

    samples = _samples(config, anchors)
    coarse = list(zip(config.tokens_by_level[1:], config.channels[1:], strict=True))
    projections = sum(count * channels * dim for count, channels in coarse if channels != dim)
    if config.pooled_levels:
        b1, coarse = _pooled_context(config), []
    else:
        b1 = _fine_tokens(config, 0) + _seed(config) + projections
    counts = {
        "b1": b1,
        "b2": config.local_layers * attend(tokens),
        "b3": _cell_layers(config, coarsest_cells),
        "b4": _anchor_heads(config, anchors) + anchors * (2 * dim + 4 * QUERY_FREQUENCIES) * dim,
        "b5": config.fused_layers * attend(tokens + anchors) + _depth_mlp(config),
        "reads": _raw_reads(config)
        + CORNERS * sum(count * channels for count, channels in coarse)
        + (CORNERS + 1) * samples * (dim // config.heads),
    }
    return {**counts, "total": sum(counts.values())}


def _anchors(config: DecoderConfig, coarsest_cells: int) -> int:
    return config.anchor_count(coarsest_cells) if config.anchors else 0


def _samples(config: DecoderConfig, anchors: int) -> int:
    """Lookups of B4: 2,304."""
    return anchors * config.heads * config.read_levels * config.samples


def _raw_reads(config: DecoderConfig) -> int:
    """Reads of B1 in levels that Phase A has not projected: around the query, and at it where levels are pooled."""
    around = max(config.pooled_levels, 1)
    points = [_grid_cells(config, level) + config.adaptive_points for level in range(around)]
    points += [1] * (len(config.channels) - around) if config.pooled_levels else []
    return CORNERS * sum(count * channels for count, channels in zip(points, config.channels, strict=False))


def _grid_cells(config: DecoderConfig, level: int) -> int:
    return (2 * max(config.local_radius[level], 0) + 1) ** 2


def _seed(config: DecoderConfig) -> int:
    """W_q."""
    return (config.channels[0] + 4 * QUERY_FREQUENCIES) * config.dim


def _fine_tokens(config: DecoderConfig, level: int) -> int:
    """W_off and W_loc of one level, alike in both forms."""
    points = _grid_cells(config, level) - 1 + config.adaptive_points
    tokens = points * (config.channels[level] + 4 * OFFSET_FREQUENCIES) * config.dim
    return 2 * config.adaptive_points * config.channels[level] + tokens


def _pooled_context(config: DecoderConfig) -> int:
    """B1 of plan v9, alike in both forms: neighbourhoods, W_agg, projections of the tokens, the first vector's MLP."""
    dim, pooled, rest = config.dim, config.pooled_levels, config.channels[config.pooled_levels :]
    seen = config.channels[0] + rest[0] + 4 * QUERY_FREQUENCIES + pooled * dim
    projections = sum(channels * dim for channels in rest if channels != dim)
    around = sum(_fine_tokens(config, level) + dim * dim for level in range(pooled))
    return around + projections + seen * dim + dim * dim


def _cell_layers(config: DecoderConfig, cells: int) -> int:
    """B3, alike in both forms: its keys and values are A3's."""
    dim = config.dim
    return config.global_layers * (2 * dim * dim + 2 * cells * dim + _feed_forward(dim))


def _anchor_heads(config: DecoderConfig, anchors: int) -> int:
    """W^Δ, W^a and W_O of B4, alike in both forms."""
    return 3 * _samples(config, anchors) * config.dim + anchors * config.dim**2


def _feed_forward(dim: int) -> int:
    return 2 * FFN_EXPANSION * dim * dim


def _depth_mlp(config: DecoderConfig) -> int:
    """Eq. 25 and the deviation's head."""
    hidden = config.depth_expansion * config.dim
    return config.dim * hidden + hidden + config.dim
