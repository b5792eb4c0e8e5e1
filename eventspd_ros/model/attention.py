"""Cross-attention of one query vector: B2, B3 and B5 of the architecture document, Eqs. 7–11 and 22–24.

A query attends with ONE vector to its 91 or 123 tokens, so projecting every token to keys and values (nine of ten
multiplications in the equations as written) is needless, and so is normalising them. With a token's LayerNorm
written as γ (x_i − μ_i) r_i + β, r_i = 1/σ_i, per head h, exactly:

    score_i   = r_i (P W_Kᵀ q_h) · x_i               W_K with γ in it; P takes the mean off, as μ_i would
    context_h = W_V P (Σ a_i r_i x_i) + (W_V β + b_V) Σ a_i

The key's bias and β shift all scores alike and cancel in the softmax; the value's add once, as Σ a_i is 1 but for
dropped weights. Tokens are only read, once for the scores and once for the context.

Shapes: B windows, K queries a window, N = B·K, T tokens or cells, D model width, H heads, E = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS, feed_forward


@dataclass(frozen=True)
class TokenSet:
    """The tokens of every query, in parts that need not be copied together, and what LayerNorm divides them by."""

    parts: tuple[Tensor, ...]  # each (N, T_i, D)
    inverse_stddev: Tensor  # r_i (N, 1, ΣT_i), float32 or wider

    @classmethod
    def of(cls, *parts: Tensor) -> TokenSet:
        return cls(parts, torch.cat([_inverse_stddev(part) for part in parts], dim=-1))

    def with_part(self, part: Tensor) -> TokenSet:
        """These tokens and further ones (N, T, D)."""
        return TokenSet((*self.parts, part), torch.cat((self.inverse_stddev, _inverse_stddev(part)), dim=-1))


def _inverse_stddev(tokens: Tensor) -> Tensor:
    """1/√(variance + ε) over the last dimension: (N, T, D) -> (N, 1, T)."""
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    square = torch.linalg.vector_norm(tokens, dim=-1, dtype=dtype).square() / tokens.shape[-1]
    variance = square - tokens.mean(dim=-1, dtype=dtype).square()
    return (variance.clamp_min(0) + EPS).rsqrt().unsqueeze(1)


def softmax_float32(scores: Tensor) -> Tensor:
    """Softmax over the last dimension, in float32 or wider."""
    return scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))


class TokenAttention(nn.Module):
    """MHCrossAttn of Eqs. 8 and 23 from one query vector to tokens of its own."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, tokens: TokenSet, token_norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """query (N, D), tokens -> update (N, D), weights (N, H, T) float32. token_norm: LN_kv of Eqs. 7 and 22."""
        count, dim = query.shape
        by_head = (self.heads, dim // self.heads, dim)
        key = _centred(self.key.weight * (token_norm.weight * by_head[1] ** -0.5))
        value = _centred(self.value.weight * token_norm.weight)
        value_bias = F.linear(token_norm.bias, self.value.weight, self.value.bias)  # W_V β + b_V
        q = self.query(query).view(count, *by_head[:2]).transpose(0, 1)
        probe = torch.bmm(q, key.view(by_head)).transpose(0, 1)  # W_Kᵀ q_h: (N, H, D)
        scores = torch.cat([torch.bmm(probe, part.transpose(1, 2)) for part in tokens.parts], dim=-1)
        weights = softmax_float32(scores * tokens.inverse_stddev)
        kept = F.dropout(weights, self.dropout, self.training)
        context = self._context((kept * tokens.inverse_stddev).to(scores.dtype), tokens.parts)
        read = torch.bmm(context.transpose(0, 1), value.view(by_head).transpose(1, 2)).transpose(0, 1)  # (N, H, E)
        # Σ a_i is one but for dropped weights.
        share = kept.sum(-1, keepdim=True) if self.training and self.dropout else 1.0
        read = read + share * value_bias.view(by_head[:2])
        return self.out(read.reshape(count, dim)), weights

    @staticmethod
    def _context(weights: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
        """Σ of weighted tokens over all parts: (N, H, T) -> (N, H, D)."""
        shares = weights.split([part.shape[1] for part in parts], dim=-1)
        context = torch.bmm(shares[0], parts[0])
        for share, part in zip(shares[1:], parts[1:], strict=True):
            context = context.baddbmm_(share, part)  # in place: bmm's gradient does not need its result
        return context


def _centred(weight: Tensor) -> Tensor:
    """A projection (D_out, D) that ignores the mean of what it projects: W P."""
    return weight - weight.mean(dim=-1, keepdim=True)


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

    def forward(self, h: Tensor, tokens: TokenSet) -> Tensor:
        """h (N, D) and the tokens -> h (N, D)."""
        for layer in self.layers:
            h, _ = layer(h, tokens, self.norm_tokens)
        return h
