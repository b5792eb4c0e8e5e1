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
    """Softmax attention of H probes a query to its tokens, keys and values alike, where gradients are wanted.

    The tokens' gradient is one product here; autograd writes two, one of them transposed, and adds them.
    """

    @staticmethod
    def forward(ctx, probe: Tensor, tokens: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        """probe (N, H, D), tokens (N, T, D) -> Σ a_i x̂_i (N, H, D), a after dropout (N, H, T) float32."""
        weights = softmax_float32(torch.bmm(probe, tokens.transpose(1, 2)))
        kept = F.dropout(weights, dropout)
        shares = kept.to(tokens.dtype)
        ctx.save_for_backward(probe, tokens, weights, kept, shares)
        return torch.bmm(shares, tokens), kept

    @staticmethod
    def backward(ctx, d_context: Tensor, d_kept: Tensor) -> tuple[Tensor | None, ...]:
        probe, tokens, weights, kept, shares = ctx.saved_tensors
        d_scores = kept * (torch.bmm(d_context, tokens.transpose(1, 2)) + d_kept)
        d_scores = (d_scores - weights * d_scores.sum(-1, keepdim=True)).to(tokens.dtype)
        both = torch.cat((d_scores, shares), dim=1).transpose(1, 2)
        return torch.bmm(d_scores, tokens), torch.bmm(both, torch.cat((probe, d_context), dim=1)), None


class TokenAttention(nn.Module):
    """MHCrossAttn of Eqs. 8 and 23 from one query vector to tokens of its own."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, tokens: Tensor, token_norm: nn.LayerNorm) -> tuple[Tensor, None]:
        """query (N, D), x̂ (N, T, D) -> update (N, D), and no weights, as nobody reads them.

        token_norm: LN_kv of Eqs. 7 and 22.
        """
        count, dim = query.shape
        by_head = (self.heads, dim // self.heads, dim)
        key = (self.key.weight * (token_norm.weight * by_head[1] ** -0.5)).view(by_head)
        value = (self.value.weight * token_norm.weight).view(by_head)
        bias = F.linear(token_norm.bias, self.value.weight, self.value.bias).view(self.heads, 1, -1)  # W_V β + b_V
        q = self.query(query).view(count, *by_head[:2]).transpose(0, 1)
        probe = torch.bmm(q, key).transpose(0, 1)  # W_Kᵀ q_h: (N, H, D)
        dropout = self.dropout if self.training else 0.0
        if dropout or torch.is_grad_enabled():
            context, kept = _Attend.apply(probe, tokens, dropout)
            bias = kept.sum(-1).t().unsqueeze(-1) * bias
        else:  # one kernel reads a query's tokens once for scores and context
            probe, tokens = probe.unsqueeze(1), tokens.unsqueeze(1)
            context = F.scaled_dot_product_attention(probe, tokens, tokens, scale=1.0).squeeze(1)
        read = torch.baddbmm(bias, context.transpose(0, 1), value.transpose(1, 2))  # (H, N, E)
        return self.out(read.transpose(0, 1).reshape(count, dim)), None


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

    def forward(self, h: Tensor, tokens: Tensor) -> Tensor:
        """h (N, D) and the standardised tokens (N, T, D) -> h (N, D)."""
        for layer in self.layers:
            h, _ = layer(h, tokens, self.norm_tokens)
        return h
