"""Each Triton kernel beside the plain PyTorch it stands in for, on what the steps of a model give it.

A twin is one call of a module that a kernel replaces (model/kernels/fuse.py): the kernel's way, the plain way, and the
plain way in float32 on the same operands, from which both are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eventspd_ros.benchmark.device_time import captured, device_ms
from eventspd_ros.model.feature_cache import map_tensors
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.stepped import SteppedModel


@dataclass(frozen=True)
class Twin:
    """One call. module, stand_in: plain and through the kernel; arguments: the tensors that they take, copies."""

    model: PointDepthModel
    module: nn.Module
    stand_in: Callable[..., Tensor]
    arguments: tuple

    def kernel(self) -> Tensor:
        with self.model.precision():
            return _tensor(self.stand_in(*self.arguments))

    def plain(self) -> Tensor:
        with self.model.precision():
            return _tensor(self.module(*self.arguments))

    def exact(self) -> Tensor:
        """plain(), in float32 throughout."""
        return _tensor(self.module(*map_tensors(_float32, self.arguments)))


def twins(model: PointDepthModel, made: SteppedModel, name: str, run: Callable[[], object]) -> list[Twin]:
    """The calls that kernel `name` replaces in a run of made's plain steps, which are of that model, each module's
    first. ValueError: there are none. Triton is needed."""
    from eventspd_ros.model.kernels.fuse import stand_in

    assert isinstance(made.encode_step, nn.Module) and isinstance(made.decode_step, nn.Module), "plain steps"
    dtype = torch.bfloat16 if model.in_bfloat16 else torch.float32
    found: list[Twin] = []
    handles = []
    for module in {id(part): part for step in (made.encode_step, made.decode_step) for part in step.modules()}.values():
        replaced = stand_in(module, [name], dtype)
        if replaced is not None:
            handles.append(module.register_forward_pre_hook(_note(found, model, replaced)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(f"kernel {name!r}: {model.config.preset} has nothing that it stands in for")
    return found


def _note(found: list[Twin], model: PointDepthModel, replaced: Callable[..., Tensor]):
    """A hook that keeps a module's first call. Copies, as uploads are written in place."""

    def hook(module: nn.Module, arguments: tuple) -> None:
        if not any(twin.module is module for twin in found):
            found.append(Twin(model, module, replaced, map_tensors(torch.clone, arguments)))

    return hook


def _tensor(output: Tensor | tuple) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def relative_error(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖ of whole tensors; NaN where either holds one."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def times_beside_errors(calls: list[Twin], device: torch.device, repetitions: int) -> dict[str, float]:
    """Of all calls of one kernel: their number, device time together, and the largest error, beside plain PyTorch's,
    each call captured by itself."""
    exact = [call.exact() for call in calls]
    found: dict[str, float] = {"calls": len(calls)}
    for name in ("kernel", "plain"):
        runs = [getattr(call, name) for call in calls]
        found[f"{name}_error"] = max(relative_error(run(), right) for run, right in zip(runs, exact, strict=True))
        found[f"{name}_ms"] = sum(device_ms(captured(run, device), device, repetitions) for run in runs)
    return found
