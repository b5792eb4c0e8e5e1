"""Blocks against their formulas."""

import pytest
import torch
from reference import slow_swin
from reference.windows import randomise
from torch import nn

from eventspd_ros.model.blocks import (
    ConvNeXtBlock,
    DepthwiseConv,
    GlobalResponseNorm,
    LayerNorm2d,
    ResidualBlock,
    SelfAttentionBlock,
    SeparableConv,
    SwinBlock,
)


@torch.no_grad()
def test_layer_norm_runs_over_channels():
    norm = randomise(LayerNorm2d(6))
    x = torch.randn(2, 6, 3, 4)
    centred = x - x.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@torch.no_grad()
def test_depthwise_convolution_is_exact_under_autocast_too():
    convolution, x = DepthwiseConv(6, 7), torch.randn(2, 6, 9, 11)
    expected = torch.cat([nn.functional.conv2d(x[:, [c]], convolution.weight[[c]], padding=3) for c in range(6)], dim=1)
    expected += convolution.bias[:, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(convolution(x), expected)
    torch.testing.assert_close(convolution(x), expected)


def slow_group_norm(x, norm):
    grouped = x.unflatten(1, (norm.num_groups, -1)).flatten(2)
    centred = grouped - grouped.mean(2, keepdim=True)
    normed = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).view_as(x)
    return normed * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize("channels", [16, 12])
@torch.no_grad()
def test_residual_block_is_its_formula_and_starts_as_the_identity(channels):
    block, x = ResidualBlock(channels), torch.randn(2, channels, 7, 5).relu()
    torch.testing.assert_close(block(x), x)
    randomise(block)
    convolution, norm, _ = block.first
    hidden = slow_group_norm(nn.functional.conv2d(x, convolution.weight, padding=1), norm).relu()
    update = slow_group_norm(nn.functional.conv2d(hidden, block.second.weight, padding=1), block.norm)
    torch.testing.assert_close(block(x), (x + update).relu(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_grn_folded_into_a_linear_layer_is_grn_then_linear():
    grn, linear = randomise(GlobalResponseNorm(6)), nn.Linear(6, 5)
    x = torch.randn(3, 4, 7, 6)
    norm = x.square().sum((1, 2), keepdim=True).sqrt()
    response = norm / (norm.mean(-1, keepdim=True) + 1e-6)
    expected = linear(x * (1 + grn.gamma * response) + grn.beta)
    torch.testing.assert_close(grn.then_linear(x, linear), expected)


@torch.no_grad()
def test_grn_norm_is_exact_on_a_large_map():
    x = torch.rand(1, 720, 320, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.1, 1.0, 5.0])
    grn = GlobalResponseNorm(3)
    grn.gamma.fill_(1.0)
    norm = x.double().square().sum((1, 2)).sqrt()
    expected = 1 + norm / (norm.mean() + 1e-6)
    torch.testing.assert_close(grn.scale(x).double(), expected, rtol=1e-6, atol=0)


def test_silent_maps_have_finite_gradients():
    block = ConvNeXtBlock(4, 3)
    with torch.no_grad():
        block.pwconv1.weight.zero_()
        block.pwconv1.bias.zero_()  # GELU(0) = 0 everywhere: the response norm is 0 / ε
        block.grn.gamma.fill_(1.0)
    block(torch.zeros(1, 4, 5, 6)).sum().backward()
    for name, parameter in block.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize(("rows", "columns"), [(8, 12), (7, 10), (4, 9), (3, 4), (5, 5)])
@torch.no_grad()
def test_window_attention_equals_cell_by_cell(rows, columns, shift):
    block = randomise(SwinBlock(8, heads=2, window=4, shift=shift))
    x = torch.randn(2, rows, columns, 8)
    attended = x + torch.stack([slow_swin.attention(single, block) for single in x])
    expected = attended + block.ffn(block.norm2(attended))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_self_attention_equals_pytorchs():
    block = randomise(SelfAttentionBlock(12, heads=3))
    oracle = nn.MultiheadAttention(12, 3, batch_first=True)
    oracle.in_proj_weight.copy_(block.qkv.weight)
    oracle.in_proj_bias.copy_(block.qkv.bias)
    oracle.out_proj.load_state_dict(block.out.state_dict())
    x = torch.randn(2, 10, 12)
    normed = block.norm1(x)
    expected = x + oracle(normed, normed, normed)[0]
    expected = expected + block.ffn(block.norm2(expected))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_separable_convolution_is_one_of_rank_one_per_channel():
    layer = SeparableConv(3, 5)
    weight = layer.pointwise.weight * layer.depthwise.weight.transpose(0, 1)
    x = torch.randn(2, 3, 6, 7)
    expected = nn.functional.conv2d(x, weight, layer.pointwise.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
