"""Cross-attention of one query vector: B2, B3 and B5 of the architecture document, Eqs. 7–11 and 22–24.

A query attends with ONE vector to its 91 or 123 tokens, so projecting every token to keys and values (nine of ten
multiplications in the equations as written) is needless. A token's LayerNorm is γ (C x_i) r_i + β, with C = I − 11ᵀ/D,
which takes the mean off, and r_i one over the deviation. Per head h, exactly:

    score_i   = (W_Kᵀ q_h) · x_i · r_i                      W_K and W_V with γ and C in them
    context_h = W_V (Σ a_i r_i x_i) + (W_V β + b_V) Σ a_i

The key's bias and β shift all scores alike and cancel in the softmax; the value's add once, as Σ a_i is 1 but for
dropped weights. Tokens are only read: once for r, which serves all layers of B2 and B5, and twice a layer.

Shapes: B windows, K queries a window, N = B·K, T tokens or cells, D model width, H heads, E = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS, feed_forward


class TokenSet(NamedTuple):
    """What queries attend to: tokens x (N, T, D), and r, one over each token's deviation, (N, T) float32 or wider."""

    tokens: Tensor
    scale: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> TokenSet:
        return cls(tokens, _Scale.apply(tokens) if torch.is_grad_enabled() else _scale(tokens)[0])


def _scale(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """r and the means (N, T). A norm and a sum only read the tokens: torch's variance takes twenty times as long."""
    wide = torch.promote_types(tokens.dtype, torch.float32)
    mean = tokens.mean(-1, dtype=wide)
    square = torch.linalg.vector_norm(tokens, dim=-1, dtype=wide).square() / tokens.shape[-1]
    return (square - mean.square()).clamp_min(0).add(EPS).rsqrt(), mean


class _Scale(torch.autograd.Function):
    """r where gradients are wanted: dr/dx = −r³ C x / D, in one pass."""

    @staticmethod
    def forward(ctx, tokens: Tensor) -> Tensor:
        scale, mean = _scale(tokens)
        ctx.save_for_backward(tokens, scale, mean)
        return scale

    @staticmethod
    def backward(ctx, d_scale: Tensor) -> Tensor:
        tokens, scale, mean = ctx.saved_tensors
        slope = -d_scale * scale**3 / tokens.shape[-1]
        slope, shift = (part.unsqueeze(-1).to(tokens.dtype) for part in (slope, -slope * mean))
        return torch.addcmul(shift, tokens, slope)


def softmax_float32(scores: Tensor) -> Tensor:
    """Softmax over the last dimension, in float32 or wider."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))


class _Read(NamedTuple):
    """What _attend computes: Σ a_i r_i x_i (N, H, D), and (N, H, T): scores, weights a before and after dropout."""

    context: Tensor
    scores: Tensor
    weights: Tensor
    kept: Tensor


def _attend(probe: Tensor, dropout: float, sets: tuple[TokenSet, ...]) -> _Read:
    """Attention of the probes (N, H, D) to one set of tokens or more."""
    scores = [torch.bmm(probe, tokens.transpose(1, 2)) * scale.unsqueeze(1) for tokens, scale in sets]
    scores = torch.cat(scores, dim=-1) if len(scores) > 1 else scores[0]
    weights = softmax_float32(scores)
    kept = F.dropout(weights, dropout)
    context = None
    for share, (tokens, scale) in zip(_split(kept, sets), sets, strict=True):
        share = (share * scale.unsqueeze(1)).to(tokens.dtype)
        context = torch.bmm(share, tokens) if context is None else torch.baddbmm(context, share, tokens)
    return _Read(context, scores, weights, kept)


def _split(weights: Tensor, sets: tuple[TokenSet, ...]) -> tuple[Tensor, ...]:
    return weights.split([tokens.shape[1] for tokens, _ in sets], dim=-1)


class _Attend(torch.autograd.Function):
    """_attend where gradients are wanted: context and the weights after dropout.

    The tokens' gradient is one product here; autograd writes two, one of them transposed, and adds them.
    """

    @staticmethod
    def forward(ctx, probe: Tensor, dropout: float, *sets: Tensor) -> tuple[Tensor, Tensor]:
        """sets: tokens and scale of each, in turn."""
        read = _attend(probe, dropout, _pairs(sets))
        ctx.save_for_backward(probe, read.scores, read.weights, read.kept, *sets)
        return read.context, read.kept

    @staticmethod
    def backward(ctx, d_context: Tensor, d_kept: Tensor) -> tuple[Tensor | None, ...]:
        probe, scores, weights, kept, *flat = ctx.saved_tensors
        sets = _pairs(flat)
        d_shares = [torch.bmm(d_context, tokens.transpose(1, 2)) * scale.unsqueeze(1) for tokens, scale in sets]
        d_shares = torch.cat(d_shares, dim=-1) if len(d_shares) > 1 else d_shares[0]
        d_scores = kept * (d_shares + d_kept)
        d_scores = d_scores - weights * d_scores.sum(-1, keepdim=True)
        # r scales scores and shares alike, so its gradient is of both.
        d_scaled = (d_scores * scores + d_shares * kept).sum(1)
        both, ends = torch.cat((d_scores, kept), dim=1), torch.cat((probe, d_context), dim=1)
        d_probe, d_sets = None, []
        for (tokens, scale), part, d_scale in zip(sets, _split(both, sets), _split(d_scaled, sets), strict=True):
            part = (part * scale.unsqueeze(1)).to(tokens.dtype)
            own = part[:, : probe.shape[1]]
            d_probe = torch.bmm(own, tokens) if d_probe is None else torch.baddbmm(d_probe, own, tokens)
            d_sets += [torch.bmm(part.transpose(1, 2), ends), d_scale / scale]
        return d_probe, None, *d_sets


def _pairs(flat) -> tuple[TokenSet, ...]:
    return tuple(TokenSet(*pair) for pair in zip(flat[::2], flat[1::2], strict=True))


@dataclass(frozen=True)
class TokenProjections:
    """W_K, W_V and the value's bias with LN_kv in them, E^−½ in the key: all that depends on weights alone.

    key (..., H, E, D), value (..., H, D, E), bias W_V β + b_V (..., H, 1, E). Leading: windows (all alike, so that a
    window of a batch can be cut out), then layers.
    """

    key: Tensor
    value: Tensor
    bias: Tensor

    def layer(self, index: int) -> TokenProjections:
        return TokenProjections(self.key[0, index], self.value[0, index], self.bias[0, index])


class TokenAttention(nn.Module):
    """MHCrossAttn of Eqs. 8 and 23 from one query vector to tokens of its own."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def fold(self, token_norm: nn.LayerNorm) -> TokenProjections:
        """One layer's projections. token_norm: LN_kv of Eqs. 7 and 22."""
        dim = len(token_norm.weight)
        width = dim // self.heads
        both = torch.stack((self.key.weight * width**-0.5, self.value.weight)) * token_norm.weight
        key, value = (both - both.mean(-1, keepdim=True)).view(2, self.heads, width, dim)
        bias = F.linear(token_norm.bias, self.value.weight, self.value.bias)
        return TokenProjections(key, value.transpose(1, 2), bias.view(self.heads, 1, width))

    def forward(self, query: Tensor, folded: TokenProjections, *sets: TokenSet) -> tuple[Tensor, None]:
        """query (N, D), one set of tokens or more -> update (N, D), and no weights, as nobody reads them."""
        probe = self.probe(query, folded)
        dropout = self.dropout if self.training else 0.0
        if torch.is_grad_enabled():
            context, kept = _Attend.apply(probe, dropout, *(tensor for tokens in sets for tensor in tokens))
        else:
            context, *_, kept = _attend(probe, dropout, sets)
        bias = kept.sum(-1).t().unsqueeze(-1) * folded.bias if dropout else folded.bias
        read = torch.baddbmm(bias.to(probe.dtype), context.transpose(0, 1), folded.value)  # (H, N, E)
        return self.out(read.transpose(0, 1).reshape(query.shape)), None

    def probe(self, query: Tensor, folded: TokenProjections) -> Tensor:
        """W_Kᵀ q_h: (N, D) -> (N, H, D)."""
        q = self.query(query).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        return torch.bmm(q, folded.key).transpose(0, 1)

    def weights(self, query: Tensor, folded: TokenProjections, *sets: TokenSet) -> Tensor:
        """What forward() attends with, of all sets in turn, for diagnostics: (N, H, T) float32."""
        return _attend(self.probe(query, folded), 0.0, sets).weights


class CellAttention(nn.Module):
    """MHCrossAttn of Eq. 10: all queries read the same cells, whose keys and values A3 projected."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """query (N, D), keys and values (B, H, T, E) -> update (N, D), weights (B, H, K, T) float32, undropped."""
        windows, heads, _, width = keys.shape
        q = self.query(query).view(windows, -1, heads, width).transpose(1, 2) * width**-0.5
        weights = softmax_float32(q @ keys.transpose(2, 3))
        kept = F.dropout(weights, self.dropout, self.training).to(values.dtype)
        read = (kept @ values).transpose(1, 2).reshape(query.shape)
        return self.out(read), weights


class DecoderLayer(nn.Module):
    """Pre-LN cross-attention and feed-forward with residuals: Eqs. 8–9, 10–11, 23–24."""

    def __init__(self, dim: int, attention: nn.Module):
        super().__init__()
        self.norm_query = nn.LayerNorm(dim, eps=EPS)
        self.attention = attention
        self.norm_ffn = nn.LayerNorm(dim, eps=EPS)
        self.ffn = feed_forward(dim)

    def forward(self, h: Tensor, *context) -> tuple[Tensor, Tensor]:
        """h (N, D), context as the attention takes it -> h (N, D), the attention's weights."""
        update, weights = self.attention(self.norm_query(h), *context)
        h = h + update
        return h + self.ffn(self.norm_ffn(h)), weights


class TokenDecoder(nn.Module):
    """B2, and the layers of B5: several layers over one static token set, with LN_kv shared by them (Eqs. 7, 22)."""

    def __init__(self, dim: int, heads: int, layers: int, dropout: float):
        super().__init__()
        if layers:  # without layers nothing reads tokens
            self.norm_tokens = nn.LayerNorm(dim, eps=EPS)
        self.layers = nn.ModuleList(DecoderLayer(dim, TokenAttention(dim, heads, dropout)) for _ in range(layers))

    def fold(self, windows: int, dtype: torch.dtype) -> TokenProjections | None:
        """Phase A: what the layers need of the weights, the same for each of the windows."""
        if not self.layers:
            return None
        layers = [layer.attention.fold(self.norm_tokens) for layer in self.layers]
        parts = zip(*((layer.key, layer.value, layer.bias) for layer in layers), strict=True)
        return TokenProjections(*(torch.stack(part).to(dtype).expand(windows, -1, -1, -1, -1) for part in parts))

    def forward(self, h: Tensor, folded: TokenProjections | None, *sets: TokenSet) -> Tensor:
        """h (N, D), what fold() gave, one set of tokens or more -> h (N, D)."""
        for index, layer in enumerate(self.layers):
            h, _ = layer(h, folded.layer(index), *sets)
        return h
