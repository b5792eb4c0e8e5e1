"""Cross-attention of one query vector: B2, B3 and B5 of the architecture document, Eqs. 7–11 and 22–24.

A query attends with ONE vector to its 91 or 123 tokens, so projecting every token to keys and values (nine of ten
multiplications in the equations as written) is needless. With x̂_i the token as LayerNorm has it before its γ and β,
exactly, per head h:

    score_i   = (W_Kᵀ q_h) · x̂_i                            W_K and W_V with γ in them
    context_h = W_V (Σ a_i x̂_i) + (W_V β + b_V) Σ a_i

The key's bias and β shift all scores alike and cancel in the softmax; the value's add once, as Σ a_i is 1 but for
dropped weights. What is left is one head as wide as the model, with the same tokens as keys and values and the H
probes W_Kᵀ q_h as queries: PyTorch's fused attention reads the tokens once a layer.

Shapes: B windows, K queries a window, N = B·K, T tokens or cells, D model width, H heads, E = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS, feed_forward


def normalised(tokens: Tensor) -> Tensor:
    """What every LN_kv does to tokens (..., D) before its γ and β: once for all layers of B2 and B5."""
    # PyTorch's LayerNorm on a CPU takes half the time where it has a γ and a β, even these.
    one, zero = tokens.new_ones(tokens.shape[-1]), tokens.new_zeros(tokens.shape[-1])
    return F.layer_norm(tokens, one.shape, one, zero, eps=EPS).to(tokens.dtype)


def softmax_float32(scores: Tensor) -> Tensor:
    """Softmax over the last dimension, in float32 or wider."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))


def _attend(probe: Tensor, tokens: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Probes (N, H, D) to tokens (N, T, D): Σ a_i x̂_i (N, H, D), weights a (N, H, T) before and after dropout."""
    weights = softmax_float32(torch.bmm(probe, tokens.transpose(1, 2)))
    kept = F.dropout(weights, dropout)
    return torch.bmm(kept.to(tokens.dtype), tokens), weights, kept


class _Attend(torch.autograd.Function):
    """_attend where gradients are wanted: context and the weights after dropout.

    The tokens' gradient is one product here; autograd writes two, one of them transposed, and adds them.
    """

    @staticmethod
    def forward(ctx, probe: Tensor, tokens: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        context, weights, kept = _attend(probe, tokens, dropout)
        ctx.save_for_backward(probe, tokens, weights, kept)
        return context, kept

    @staticmethod
    def backward(ctx, d_context: Tensor, d_kept: Tensor) -> tuple[Tensor | None, ...]:
        probe, tokens, weights, kept = ctx.saved_tensors
        d_scores = kept * (torch.bmm(d_context, tokens.transpose(1, 2)) + d_kept)
        d_scores = (d_scores - weights * d_scores.sum(-1, keepdim=True)).to(tokens.dtype)
        both, ends = torch.cat((d_scores, kept.to(tokens.dtype)), dim=1), torch.cat((probe, d_context), dim=1)
        return torch.bmm(d_scores, tokens), torch.bmm(both.transpose(1, 2), ends), None


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
        key, value = both.view(2, self.heads, width, dim)
        bias = F.linear(token_norm.bias, self.value.weight, self.value.bias)
        return TokenProjections(key, value.transpose(1, 2), bias.view(self.heads, 1, width))

    def forward(self, query: Tensor, folded: TokenProjections, tokens: Tensor) -> tuple[Tensor, None]:
        """query (N, D), normalised tokens (N, T, D) -> update (N, D), and no weights, as nobody reads them."""
        probe = self.probe(query, folded)
        dropout = self.dropout if self.training else 0.0
        bias = folded.bias
        if torch.is_grad_enabled() or dropout:
            context, kept = _Attend.apply(probe, tokens, dropout)
            bias = kept.sum(-1).t().unsqueeze(-1) * bias if dropout else bias
        else:  # the heads are the queries of one head as wide as the tokens, which this reads once
            alike = tokens.unsqueeze(1)
            context = F.scaled_dot_product_attention(probe.unsqueeze(1), alike, alike, scale=1.0).squeeze(1)
        read = torch.baddbmm(bias.to(probe.dtype), context.transpose(0, 1), folded.value)  # (H, N, E)
        return self.out(read.transpose(0, 1).reshape(query.shape)), None

    def probe(self, query: Tensor, folded: TokenProjections) -> Tensor:
        """W_Kᵀ q_h: (N, D) -> (N, H, D)."""
        q = self.query(query).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        return torch.bmm(q, folded.key).transpose(0, 1)

    def weights(self, query: Tensor, folded: TokenProjections, tokens: Tensor) -> Tensor:
        """What forward() attends with, for diagnostics: (N, H, T) float32."""
        return _attend(self.probe(query, folded), tokens)[1]


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
        attentions = [layer.attention for layer in self.layers]
        layers = [each.fold(self.norm_tokens) for each in attentions if isinstance(each, TokenAttention)]
        parts = zip(*((layer.key, layer.value, layer.bias) for layer in layers), strict=True)
        return TokenProjections(*(torch.stack(part).to(dtype).expand(windows, -1, -1, -1, -1) for part in parts))

    def forward(self, h: Tensor, folded: TokenProjections | None, tokens: Tensor) -> Tensor:
        """h (N, D), what fold() gave, normalised tokens (N, T, D) -> h (N, D)."""
        if folded is None:
            return h
        for index, layer in enumerate(self.layers):
            h, _ = layer(h, folded.layer(index), tokens)
        return h
