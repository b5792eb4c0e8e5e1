"""The least time of each stage of a model: bytes that must move and flops, beside the time the stage takes."""

from __future__ import annotations

import torch
from torch import nn

from eventspd_ros.benchmark.device_time import captured, device_ms, floor_ms
from eventspd_ros.benchmark.gpu_variants import Plan, points
from eventspd_ros.benchmark.model_info import model_info
from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.decoder_context import DecoderContext
from eventspd_ros.model.feature_cache import StreamState, list_tensors
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stages import Phase
from eventspd_ros.model.stepped import stepped


def floors(plan: Plan, sensor_hw: tuple[int, int], ceilings: dict[str, float]) -> dict:
    """By stage: bytes that must move (inputs, outputs, weights), flops, the least time, the time captured alone.

    Phase B's stages are of the plan's first number of queries. Stages that do not run as one module (a3, a4) are not
    among them. ceilings: as device_time.ceilings() gives them.
    """
    device = torch.device(plan.device)
    model = build_model(plan.preset).to(device)
    model.in_bfloat16 = True
    k = plan.ks[0]
    macs = model_info(plan.preset, sensor_hw)["macs"]["by_stage"]
    stages = {name: stage for name, stage in model.stages().items() if list(stage.module.parameters())}
    made = stepped(model, *sensor_hw)  # before the hooks: it runs Phase A on tensors that have shapes only
    calls, handles = {}, []
    for name, stage in stages.items():
        hook = _note_call(calls, name)
        handles.append(stage.module.register_forward_hook(hook, with_kwargs=True))
    (cache,), _ = made.encode([model_window(model.config, *sensor_hw, plan.events)], [StreamState()])
    made.decode(cache, points(k, sensor_hw))
    for handle in handles:
        handle.remove()
    found = {}
    for name, (arguments, keywords, moved) in calls.items():
        module, phase = stages[name].module, stages[name].phase
        weights = sum(parameter.numel() for parameter in module.parameters()) * 2
        flops = 2 * macs[name] * (1 if phase == Phase.A else k)
        least = floor_ms(moved + weights, flops, ceilings)
        alone = captured(lambda m=module, a=arguments, kw=keywords: _run(model, m, a, kw), device)
        took = device_ms(alone, device, plan.repetitions)
        found[name] = {"bytes": moved + weights, "flops": flops, "floor_ms": least, "captured_ms": took}
        found[name]["times_floor"] = took / least
    return found


def _run(model: PointDepthModel, module: nn.Module, arguments: tuple, keywords: dict) -> None:
    with model.precision():
        module(*arguments, **keywords)


def _note_call(calls: dict, name: str):
    """A forward hook that keeps a stage's first call: arguments, and bytes that come in and go out.

    Of the context only what a stage takes whole is counted, not the rows that B1 and B4 gather: a floor stays one.
    """

    def hook(_, arguments, keywords, output) -> None:
        given = (*arguments, *keywords.values())
        tensors = list_tensors(tuple(value for value in given if not isinstance(value, DecoderContext)))
        tensors += list_tensors(output if isinstance(output, tuple) else (output,))
        calls.setdefault(name, (arguments, keywords, sum(tensor.nbytes for tensor in tensors)))

    return hook
