"""Cross-attention of one query vector: B2, B3 and B5 of the architecture document, Eqs. 7–11 and 22–24.

A query attends with ONE vector to its 91 or 123 tokens, so projecting every token to keys and values (9 of 10
multiplications in the equations as written) is needless. Per head h, exactly:

    score_i   = (W_Kᵀ q_h) · x_i            the key bias would shift all scores alike and cancels in the softmax
    context_h = W_V (Σ a_i x_i) + b_V Σ a_i   the value bias adds once; Σ a_i is 1 but for dropped weights

and the affine part of the LayerNorm on the tokens moves to the query's side the same way, so that tokens are
normalised once for all layers that read them.

Shapes: B windows, K queries a window, N = B·K, T tokens or cells, D model width, H heads, E = D / H.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventspd_ros.model.blocks import EPS


def normalise(tokens: Tensor) -> Tensor:
    """LayerNorm without its affine part over the last dimension; TokenAttention applies that part."""
    one = tokens.new_ones(tokens.shape[-1])  # with weights the CPU kernel is vectorised, without them it is not
    return F.layer_norm(tokens, one.shape, one, one - one, eps=EPS).to(tokens.dtype)


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

    def forward(self, query: Tensor, token_sets: Sequence[Tensor], token_norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        """query (N, D), token_sets of normalise()d (N, T_i, D) -> update (N, D), weights (N, H, ΣT_i) float32.

        token_norm: LN_kv of Eqs. 7 and 22, of which only the affine part γ, β is left to apply.
        """
        count, dim = query.shape
        by_head = (self.heads, dim // self.heads, dim)
        q = self.query(query).view(count, *by_head[:2]).transpose(0, 1)
        key = self.key.weight * (token_norm.weight * by_head[1] ** -0.5)  # W_K γ / √E
        probe = torch.bmm(q, key.view(by_head)).transpose(0, 1)  # (N, H, D)
        scores = torch.cat([torch.bmm(probe, tokens.transpose(1, 2)) for tokens in token_sets], dim=-1)
        weights = softmax_float32(scores)
        kept = F.dropout(weights, self.dropout, self.training)
        context = self._context(kept.to(scores.dtype), token_sets)
        value = (self.value.weight * token_norm.weight).view(by_head)  # W_V γ
        bias = F.linear(token_norm.bias, self.value.weight, self.value.bias)  # W_V β + b_V
        read = torch.bmm(context.transpose(0, 1), value.transpose(1, 2)).transpose(0, 1)  # (N, H, E)
        read = read + kept.sum(-1, keepdim=True) * bias.view(by_head[:2])
        return self.out(read.reshape(count, dim)), weights

    @staticmethod
    def _context(weights: Tensor, token_sets: Sequence[Tensor]) -> Tensor:
        """Σ a_i x_i over all sets: (N, H, ΣT_i) -> (N, H, D)."""
        parts = weights.split([tokens.shape[1] for tokens in token_sets], dim=-1)
        context = torch.bmm(parts[0], token_sets[0])
        for part, tokens in zip(parts[1:], token_sets[1:], strict=True):
            context = context + torch.bmm(part, tokens)
        return context


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
        self.ffn = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

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

    def forward(self, h: Tensor, token_sets: Sequence[Tensor]) -> Tensor:
        """h (N, D), token_sets of normalise()d (N, T_i, D) -> h (N, D)."""
        for layer in self.layers:
            h, _ = layer(h, token_sets, self.norm_tokens)
        return h
