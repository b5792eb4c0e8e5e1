"""What a model is made of: parameters and multiply-accumulates by stage, counted on the model itself.

The model runs on PyTorch's fake tensors, which have shapes only, so counting takes neither the memory nor
the time of a real window. Counted are matrix products, convolutions, attention and the weighted sums of bilinear
table reads; norms, activations and softmax are not. A1's scatter depends on the number of events and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from eventspd_ros.events.pitch import seen_hw
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.decoder_macs import macs_per_query_reference
from eventspd_ros.model.event_encoder import FeatureField
from eventspd_ros.model.eventspd import EventSPD
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stages import Phase, Stage

QUERIES = 64  # counted at K and 2K, to see what one more query costs
# Operators that PyTorch's counter does not know.
CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
IN_PLACE = (torch.ops.aten.baddbmm_,)
TABLE_READS = (torch.ops.aten._embedding_bag, torch.ops.aten._embedding_bag_forward_only)


def model_info(preset: str | ModelConfig, sensor_hw: tuple[int, int]) -> dict:
    """Counts for a preset on a sensor of (height, width) pixels.

    parameters: by stage, and their total; table_values: the F³ grid values, apart. voxel_table_bytes: what
    model.prepare() holds for this sensor. macs: encode (one window), per_query, per_query_reference (the decoder as
    the document's equations are written) and by_stage, whose Phase A stages count a window and B stages a query.
    """
    model = build_model(preset)
    stages = model.stages()
    table = model.encoder.table_values
    parameters = {name: sum(p.numel() for p in stage.module.parameters()) for name, stage in stages.items()}
    parameters["a1"] -= table
    total = sum(p.numel() for p in model.parameters()) - table
    assert sum(parameters.values()) == total, "a parameter belongs to no stage, or to two"
    seen = seen_hw(model.config, *sensor_hw)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        macs = _macs(model, stages, seen)
    return {
        "preset": model.config.preset,
        "sensor": f"{sensor_hw[1]}x{sensor_hw[0]}",
        "parameters": {**parameters, "total": total},
        "table_values": table,
        "voxel_table_bytes": model.encoder.bytes_for(*seen),
        "macs": macs,
    }


def _macs(model: nn.Module, stages: dict[str, Stage], sensor_hw: tuple[int, int]) -> dict:
    """encode, per_query, per_query_reference and by_stage."""
    field = torch.empty(1, model.encoder.field_channels, *sensor_hw)
    if isinstance(model, FeatureField):
        encode = _count(lambda: model(field), stages)
        encode.pop("")
        return {"encode": sum(encode.values()), "per_query": 0, "per_query_reference": 0, "by_stage": encode}
    tensors, _ = model.phase_a(field, None)
    encode = _count(lambda: model.phase_a(field, None), stages)
    fewer, more = (_count(lambda uv=uv: model.phase_b(tensors, uv), stages) for uv in _queries())
    # What a call costs whatever the number of queries is not a query's.
    query = {name: (more[name] - fewer[name]) // QUERIES for name in more}
    is_b = {name: stage.phase == Phase.B for name, stage in stages.items()}
    shared = encode.pop("") + sum(count for name, count in encode.items() if is_b.get(name))
    by_stage = {name: query[name] if is_b[name] else encode[name] for name in stages}
    if isinstance(model, EventSPD):
        by_stage["a3"] += shared  # what precompute() does for B1 and B4
        cells = math.prod(tensors.context.cells_hw[-1])
        reference = macs_per_query_reference(model.config.decoder, cells)["total"]
    per_query = sum(query.values())
    return {
        "encode": sum(by_stage[name] for name in stages if not is_b[name]),
        "per_query": per_query,
        "per_query_reference": reference if isinstance(model, EventSPD) else per_query,
        "by_stage": by_stage,
    }


def _queries() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.empty(1, count, 2) for count in (QUERIES, 2 * QUERIES))


def _count(run: Callable[[], object], stages: dict[str, Stage]) -> dict[str, int]:
    """Multiply-accumulates of a call by stage; under "" what ran in no stage's module."""
    known = dict.fromkeys(TABLE_READS, _table_read_flops) | dict.fromkeys(IN_PLACE, _batch_product_flops)
    known[CPU_ATTENTION] = _attention_flops
    counter = FlopCounterMode(display=False, custom_mapping=known)
    counts, depth, entered = dict.fromkeys([*stages, ""], 0), dict.fromkeys(stages, 0), dict.fromkeys(stages, 0)

    def enter(name: str) -> None:
        if depth[name] == 0:
            entered[name] = counter.get_total_flops()
        depth[name] += 1

    def leave(name: str) -> None:
        depth[name] -= 1
        if depth[name] == 0:
            counts[name] += (counter.get_total_flops() - entered[name]) // 2

    hooks = []
    for name, stage in stages.items():
        for part in stage.module.modules():
            hooks.append(part.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            hooks.append(part.register_forward_hook(lambda *_, name=name: leave(name)))
    try:
        with counter:
            run()
    finally:
        for hook in hooks:
            hook.remove()
    counts[""] = counter.get_total_flops() // 2 - sum(counts.values())
    return counts


def _table_read_flops(table_shape, rows_shape, *_, out_shape=None, **__) -> int:
    """A weighted sum of table rows: one multiply-accumulate a value read."""
    return 2 * math.prod(rows_shape) * table_shape[1]


def _attention_flops(query_shape, key_shape, value_shape, *_, out_shape=None, **__) -> int:
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def _batch_product_flops(_, left_shape, right_shape, *__, out_shape=None, **___) -> int:
    return 2 * math.prod(left_shape) * right_shape[2]
