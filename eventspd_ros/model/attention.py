"""Cross-attention of one query vector: B2, B3 and B5 of the architecture document, Eqs. 7–11 and 22–24.

A query attends with ONE vector to its 91 or 123 tokens, so projecting every token to keys and values (nine of ten
multiplications in the equations as written) is needless. With a token's LayerNorm written as γ x̂_i + β, x̂_i the
standardised token, per head h, exactly:

    score_i   = (W_Kᵀ q_h) · x̂_i                    W_K and W_V with γ in them
    context_h = W_V (Σ a_i x̂_i) + (W_V β + b_V) Σ a_i

The key's bias and β shift all scores alike and cancel in the softmax; the value's add once, as Σ a_i is 1 but for
dropped weights. Tokens are standardised once for all layers of B2 and B5, then only read.

Shapes: B windows, K queries a window, N = B·K, T tokens or cells, D model width, H heads, E = D / H.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS, feed_forward


def standardise(tokens: Tensor) -> Tensor:
    """LN_kv without γ and β, which the projections take: (N, T, D) -> x̂ (N, T, D)."""
    dim = tokens.shape[-1]
    # Ones and zeros spelt out: without them torch's kernel for the CPU takes twice as long in float32.
    return F.layer_norm(tokens, (dim,), tokens.new_ones(dim), tokens.new_zeros(dim), EPS).to(tokens.dtype)


def softmax_float32(scores: Tensor) -> Tensor:
    """Softmax over the last dimension, in float32 or wider."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))


class _Attend(torch.autograd.Function):
    """Softmax attention of H probes a query to its tokens, keys and values alike, in one or two parts.

    A function of its own for its gradient: that of a part is one product, where autograd writes two and adds them.
    """

    @staticmethod
    def forward(
        ctx, probe: Tensor, dropout: float, tokens: Tensor, further: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """probe (N, H, D), parts (N, T, D) -> Σ a_i x_i (N, H, D), a after dropout (N, H, ΣT) float32."""
        parts = [tokens] if further is None else [tokens, further]
        weights = softmax_float32(_scores(probe, parts))
        kept = F.dropout(weights, dropout) if dropout else weights
        shares = kept.to(probe.dtype)
        ctx.save_for_backward(probe, weights, kept, shares, *parts)
        return _sums(shares, parts), kept

    @staticmethod
    def backward(ctx, d_context: Tensor, d_kept: Tensor) -> tuple[Tensor | None, ...]:
        probe, weights, kept, shares, *parts = ctx.saved_tensors
        d_scores = kept * (_scores(d_context, parts) + d_kept)
        d_scores = (d_scores - weights * d_scores.sum(-1, keepdim=True)).to(probe.dtype)
        left, right = torch.cat((d_scores, shares), dim=1).transpose(1, 2), torch.cat((probe, d_context), dim=1)
        d_parts = [torch.bmm(part, right) for part in left.split([part.shape[1] for part in parts], dim=1)]
        return _sums(d_scores, parts), None, *d_parts


def _scores(probe: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Products with the tokens of all parts: (N, H, D) -> (N, H, ΣT)."""
    scores = [torch.bmm(probe, part.transpose(1, 2)) for part in parts]
    return torch.cat(scores, dim=-1) if len(parts) > 1 else scores[0]


def _sums(weights: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Sums of the tokens of all parts: (N, H, ΣT) -> (N, H, D)."""
    first, *others = weights.split([part.shape[1] for part in parts], dim=-1)
    context = torch.bmm(first, parts[0])
    for share, part in zip(others, parts[1:], strict=True):
        context.baddbmm_(share, part)
    return context


class TokenAttention(nn.Module):
    """MHCrossAttn of Eqs. 8 and 23 from one query vector to tokens of its own."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, token_norm: nn.LayerNorm, *tokens: Tensor) -> tuple[Tensor, Tensor]:
        """query (N, D), one or two parts of x̂ (N, T, D) -> update (N, D), weights after dropout (N, H, ΣT) float32.

        token_norm: LN_kv of Eqs. 7 and 22.
        """
        count, dim = query.shape
        by_head = (self.heads, dim // self.heads, dim)
        key = self.key.weight * (token_norm.weight * by_head[1] ** -0.5)
        value = self.value.weight * token_norm.weight
        value_bias = F.linear(token_norm.bias, self.value.weight, self.value.bias)  # W_V β + b_V
        q = self.query(query).view(count, *by_head[:2]).transpose(0, 1)
        probe = torch.bmm(q, key.view(by_head)).transpose(0, 1)  # W_Kᵀ q_h: (N, H, D)
        dropout = self.dropout if self.training else 0.0
        context, weights = _Attend.apply(probe, dropout, *tokens)
        read = torch.bmm(context.transpose(0, 1), value.view(by_head).transpose(1, 2)).transpose(0, 1)  # (N, H, E)
        # Σ a_i is one but for dropped weights.
        share = weights.sum(-1, keepdim=True) if dropout else 1.0
        read = read + share * value_bias.view(by_head[:2])
        return self.out(read.reshape(count, dim)), weights


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

    def forward(self, h: Tensor, *tokens: Tensor) -> Tensor:
        """h (N, D) and one or two parts of standardised tokens, (N, T, D) each -> h (N, D)."""
        for layer in self.layers:
            h, _ = layer(h, self.norm_tokens, *tokens)
        return h
