"""The layers that more than one stage uses, each defined once.

Shapes: B batch, C channels, H and W in cells, N = H·W tokens. Maps are (B, C, H, W) and are kept in channels_last
memory, where a permuted view (B, H, W, C) is contiguous: normalisation and linear layers then need no copies.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6
NORM_GROUPS = 8


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a map (B, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """GRN: x·(1 + γ·n) + β with n_c = ‖x_c‖₂ / (mean over c of ‖x_c‖₂ + ε) (Woo et al., arXiv 2301.00808, §3).

    The norm runs over the whole map, so a scale per channel is all that depends on x. That scale and β fold into the
    linear layer that follows, which saves a pass over the widest tensor of a block.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def scale(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) -> 1 + γ·n of shape (B, C), in float32 or wider whatever x is.

        Squares are summed along rows first: one float32 norm over a million cells loses four digits on a CPU and
        takes ten times as long. The floor keeps the gradient of a silent channel finite.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        norm = (x * x).sum(dim=2, dtype=wide).sum(dim=1).clamp_min(1e-24).sqrt()
        return 1.0 + self.gamma * (norm / (norm.mean(dim=-1, keepdim=True) + EPS))

    def then_linear(self, x: Tensor, linear: nn.Linear) -> Tensor:
        """linear(GRN(x)) for x (B, H, W, C) -> (B, H, W, C_out)."""
        weight = linear.weight.t() * self.scale(x)[:, :, None]
        bias = linear.bias + linear.weight @ self.beta
        return (torch.matmul(x.flatten(1, 2), weight.to(x.dtype)) + bias.to(x.dtype)).unflatten(1, x.shape[1:3])


class DepthwiseConv(nn.Conv2d):
    """k×k, each channel for itself, the size kept.

    In float32 on a CPU, whatever the precision around it: the gradient of 32 channels of 33×44 cells, batch 12,
    takes 10 ms of one thread there and 24 ms in bfloat16.
    """

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, padding=(kernel - 1) // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))


class ConvNeXtBlock(nn.Module):
    """ConvNeXt V2: depthwise k×k → LN → Linear ×b → GELU → GRN → Linear → + x. No layer scale (arXiv 2301.00808)."""

    def __init__(self, channels: int, kernel: int = 7, expansion: int = 4):
        super().__init__()
        self.dwconv = DepthwiseConv(channels, kernel)
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.pwconv1 = nn.Linear(channels, expansion * channels)
        self.grn = GlobalResponseNorm(expansion * channels)
        self.pwconv2 = nn.Linear(expansion * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        hidden = F.gelu(self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1))))
        return x + self.grn.then_linear(hidden, self.pwconv2).permute(0, 3, 1, 2)


def group_norm(channels: int) -> nn.GroupNorm:
    """Eight groups, or the most that divide the channels."""
    return nn.GroupNorm(math.gcd(NORM_GROUPS, channels), channels)


class ConvNorm(nn.Sequential):
    """Convolution → group norm → ReLU.

    Unlike LayerNorm of every cell it keeps how strong a cell is beside the others: nothing is amplified where no event
    is.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1):
        convolution = nn.Conv2d(channels, out_channels, kernel, stride, padding=(kernel - 1) // 2, bias=False)
        super().__init__(convolution, group_norm(out_channels), nn.ReLU())


class ResidualBlock(nn.Module):
    """ReLU(x + GN(conv3(ReLU(GN(conv3(x)))))), the last norm starting at zero.

    He et al., CVPR 2016; the start: Goyal et al., arXiv 1706.02677.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = group_norm(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.relu(x + self.norm(self.second(self.first(x))))


def feed_forward(channels: int, expansion: int = 4) -> nn.Sequential:
    """Linear → GELU → Linear, (..., C) -> (..., C)."""
    return nn.Sequential(
        nn.Linear(channels, expansion * channels), nn.GELU(), nn.Linear(expansion * channels, channels)
    )


class SelfAttentionBlock(nn.Module):
    """Pre-LN self-attention over all tokens and feed-forward, both with residuals."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.ffn = feed_forward(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        query, key, value = _split_heads(self.qkv(self.norm1(tokens)), self.heads)
        tokens = tokens + self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return tokens + self.ffn(self.norm2(tokens))


class SwinBlock(nn.Module):
    """Self-attention inside w×w windows with a learned bias per relative position, and feed-forward.

    With shift > 0 the windows are moved by that many cells and what wraps around is kept apart (Liu et al., arXiv
    2103.14030, §3.2). Maps that are no multiple of w are padded; padded cells are never attended to.
    """

    def __init__(self, channels: int, heads: int, window: int = 8, shift: int = 0):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.position_bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        self.relative: Tensor
        self.register_buffer("relative", _relative_positions(window), persistent=False)
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.ffn = feed_forward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self._attend(self.norm1(x))
        return x + self.ffn(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        size = self.window
        batch, rows, columns, channels = x.shape
        padding = (-rows % size, -columns % size)
        padded = (rows + padding[0], columns + padding[1])
        # A side of one window has nothing to shift into: shifting would only cut the window up.
        shifts = tuple(self.shift if side > size else 0 for side in padded)
        if any(padding):
            x = F.pad(x, (0, 0, 0, padding[1], 0, padding[0]))
        if any(shifts):
            x = x.roll((-shifts[0], -shifts[1]), (1, 2))
        x = x.view(batch, padded[0] // size, size, padded[1] // size, size, channels).transpose(2, 3)
        windows = x.reshape(-1, size * size, channels)
        bias = self.position_bias[self.relative].permute(2, 0, 1)
        if any(padding) or any(shifts):
            allowed = _window_mask((rows, columns), padded, size, shifts, x.device)
            bias = bias.masked_fill(~allowed[:, None], float("-inf")).repeat(batch, 1, 1, 1)
        query, key, value = _split_heads(self.qkv(windows), self.heads)
        scores = query @ key.transpose(-1, -2) * (channels // self.heads) ** -0.5
        weights = (scores + bias).softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        windows = self.out((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        x = windows.view(batch, padded[0] // size, padded[1] // size, size, size, channels).transpose(2, 3)
        x = x.reshape(batch, *padded, channels)
        if any(shifts):
            x = x.roll(shifts, (1, 2))
        return x[:, :rows, :columns]


class SeparableConv(nn.Module):
    """Depthwise 3×3, then pointwise: (B, C, H, W) -> (B, C_out, H, W)."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def _split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(N, T, 3·C) -> query, key and value, each (N, heads, T, C/heads)."""
    return qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _relative_positions(window: int) -> Tensor:
    """Row of the bias table for every pair of cells of a window, (w², w²)."""
    index = torch.arange(window * window)
    rows, columns = index // window, index % window
    row_step = rows[:, None] - rows + window - 1
    column_step = columns[:, None] - columns + window - 1
    return row_step * (2 * window - 1) + column_step


def _window_mask(
    cells: tuple[int, int], padded: tuple[int, int], window: int, shifts: tuple[int, ...], device: torch.device
) -> Tensor:
    """Which cell of a shifted window may attend to which, (windows, w², w²) bool: no padding, no wrapping around."""
    groups, real = [], []
    for side, padded_side, shift in zip(cells, padded, shifts, strict=True):
        source = torch.arange(padded_side, device=device) + shift
        groups.append(source // padded_side)  # 1 where the roll wrapped
        real.append(source % padded_side < side)
    group = groups[0][:, None] * 2 + groups[1]
    group = torch.where(real[0][:, None] & real[1], group, -1)
    group = (
        group.view(padded[0] // window, window, padded[1] // window, window).transpose(1, 2).flatten(2).flatten(0, 1)
    )
    same = (group[:, :, None] == group[:, None, :]) & (group[:, None, :] >= 0)
    # A padded cell may see itself, so that its softmax, which nobody reads, is defined.
    return same | torch.eye(window * window, dtype=torch.bool, device=device)


def init_weights(module: nn.Module) -> None:
    """For module.apply(): convolutions and linear layers from a normal of 0.02 cut at ±2, biases zero."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
