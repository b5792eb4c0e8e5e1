"""The one table of stages: each parameter is in one stage, and stages run when their phase says so."""

import pytest
import torch
from reference.models import small_model
from reference.windows import random_window
from torch import nn

from eventspd_ros.model.feature_cache import StreamState
from eventspd_ros.model.presets import ENCODER_PRESETS, MODEL_PRESETS, build_model
from eventspd_ros.model.stages import Phase, Stage


@pytest.mark.parametrize("preset", [*MODEL_PRESETS, *ENCODER_PRESETS])
def test_every_parameter_is_in_one_stage(preset):
    with torch.device("meta"):
        model = build_model(preset)
    found = [id(parameter) for stage in model.stages().values() for parameter in stage.module.parameters()]
    assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [
        ({}, {"a3"}),  # a holder of projections, which nobody calls as a whole
        ({"parametrization": "log", "prior": True, "shared_scale": True}, {"a3"}),
        ({"v9": True}, {"a3"}),
        ("minimal", set()),
    ],
)
def test_stages_run_in_their_phase(kind, left_out):
    model = build_model(kind) if kind == "minimal" else small_model(**kind)
    stages, ran = model.stages(), set()
    for name, stage in stages.items():
        for module in stage.called():
            module.register_forward_hook(lambda *_, name=name: ran.add(name))
    with_work = {phase: {n for n, s in stages.items() if s.phase == phase and any(s.called())} for phase in Phase}
    with torch.inference_mode():
        (cache,), _ = model.encode([random_window(64, 48, 500)], [StreamState()])
        assert ran == with_work[Phase.A] - left_out
        ran.clear()
        model.decode(cache, torch.rand(5, 2))
    assert ran == with_work[Phase.B]


def test_of_a_list_each_part_with_weights_is_called():
    parts = nn.ModuleList([nn.Linear(1, 1), nn.Identity(), nn.Linear(1, 1)])
    assert list(Stage(parts, Phase.A).called()) == [parts[0], parts[2]]
    assert list(Stage(nn.Identity(), Phase.A).called()) == []
    whole = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    assert list(Stage(whole, Phase.A).called()) == [whole]
