"""Switching kernels on for a model's steps, each by itself or all, and off again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eventspd_ros.model.attention import TokenAttention, TokenProjections
from eventspd_ros.model.blocks import ConvNeXtBlock
from eventspd_ros.model.deformable_read import DeformableRead
from eventspd_ros.model.kernels.attention import attend
from eventspd_ros.model.kernels.convnext import FusedConvNeXt
from eventspd_ros.model.kernels.convnext_bands import BandedConvNeXt
from eventspd_ros.model.kernels.deformable import FusedDeformableRead
from eventspd_ros.model.kernels.voxel_scatter import voxel_scatter
from eventspd_ros.model.steps import DecodeStep, EncodeStep, PackedField

KERNELS = ("voxel_scatter", "convnext", "convnext_bands", "attention", "deformable")  # of two forms the first


@contextmanager
def fused(encode: EncodeStep, decode: DecodeStep, names: Sequence[str] = KERNELS) -> Iterator[None]:
    """Within, the steps run through the kernels named. For inference; weights must stay as they are meanwhile."""
    if unknown := sorted(set(names) - set(KERNELS)):
        raise ValueError(f"kernels {unknown} are unknown; there are {', '.join(KERNELS)}")
    dtype = torch.bfloat16 if encode.model.in_bfloat16 else torch.float32
    replaced = []
    for module in {id(module): module for step in (encode, decode) for module in step.modules()}.values():
        forward = stand_in(module, names, dtype)
        if forward is not None:
            module.forward = forward  # of this one object; its class keeps the plain one
            replaced.append(module)
    try:
        yield
    finally:
        for module in replaced:
            del module.forward


def stand_in(module: nn.Module, names: Sequence[str], dtype: torch.dtype):
    """What stands in for a module's forward through the kernels named, in the type of the maps, or None."""
    if isinstance(module, PackedField) and "voxel_scatter" in names:
        return FusedField(module)
    if isinstance(module, ConvNeXtBlock) and "convnext" in names:
        return FusedConvNeXt(module, dtype)
    if isinstance(module, ConvNeXtBlock) and "convnext_bands" in names:
        return BandedConvNeXt(module, dtype)
    if isinstance(module, TokenAttention) and "attention" in names:
        return FusedTokenAttention(module)
    if isinstance(module, DeformableRead) and "deformable" in names:
        return FusedDeformableRead(module)
    return None


class FusedField:
    """PackedField.forward()."""

    def __init__(self, field: PackedField):
        self.field = field

    @torch.compiler.disable  # a break in the graph costs nothing once it is captured
    def __call__(self, packed: Tensor) -> Tensor:
        field, bins = self.field, len(self.field.node_index)
        pixels = field.height * field.width
        made = voxel_scatter(packed, field.table, field.node_index, field.node_weight[:bins], pixels)
        return made.view(1, field.height, field.width, -1).permute(0, 3, 1, 2)


class FusedTokenAttention:
    """TokenAttention.forward() for inference."""

    def __init__(self, module: TokenAttention):
        self.module = module

    @torch.compiler.disable  # a break in the graph costs nothing once it is captured
    def __call__(self, query: Tensor, folded: TokenProjections, tokens: Tensor) -> tuple[Tensor, None]:
        context = attend(self.module.probe(query, folded), tokens)
        read = torch.baddbmm(folded.bias.to(context.dtype), context.transpose(0, 1), folded.value)
        return self.module.out(read.transpose(0, 1).reshape(query.shape)), None
