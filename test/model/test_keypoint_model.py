"""Whatever way a model is run, it has one interface; an encoder does not have it."""

import inspect

import pytest
from reference.models import small_model
from torch import nn

from eventspd_ros.model.acceleration import CompiledModel
from eventspd_ros.model.dense import DenseModel
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.presets import ENCODER_PRESETS, MODEL_PRESETS, build_model
from eventspd_ros.model.stepped import SteppedModel, stepped

METHODS = ("prepare", "drop_tables", "encode", "decode")


@pytest.mark.parametrize("preset", MODEL_PRESETS)
def test_every_preset_that_answers_keypoints_is_one(preset):
    model = build_model(preset)
    assert isinstance(model, KeypointModel) and model.sensor_hw is None


@pytest.mark.parametrize("preset", MODEL_PRESETS)
def test_no_attribute_hides_a_method_of_torch(preset):
    model = build_model(preset)
    methods = [name for name in dir(nn.Module) if name[0] != "_" and callable(getattr(nn.Module, name))]
    assert "bfloat16" in methods and [name for name in methods if not callable(getattr(model, name))] == []


@pytest.mark.parametrize("preset", ENCODER_PRESETS)
def test_an_encoder_is_none(preset):
    assert not isinstance(build_model(preset), KeypointModel)


def test_steps_and_compiled_steps_are_one_too():
    model = small_model()
    steps, compiled = stepped(model, 48, 64), CompiledModel(model, print, backend="eager")
    assert isinstance(steps, KeypointModel) and isinstance(compiled, KeypointModel)
    assert steps.sensor_hw == (48, 64) and compiled.sensor_hw is None


@pytest.mark.parametrize("kind", [PointDepthModel, DenseModel, SteppedModel, CompiledModel])
def test_what_is_called_takes_the_same_arguments(kind):
    for name in METHODS:
        expected, found = (list(inspect.signature(getattr(which, name)).parameters) for which in (KeypointModel, kind))
        assert found == expected, name
