"""Configs survive JSON and refuse what they do not know."""

import json
from dataclasses import replace

import pytest

from eventspd_ros.model.config import HeadConfig, ModelConfig
from eventspd_ros.model.presets import ENCODER_PRESETS, MODEL_PRESETS, build_model, preset_config


@pytest.mark.parametrize("preset", MODEL_PRESETS + ENCODER_PRESETS)
def test_presets_survive_json(preset):
    config = preset_config(preset)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert build_model(config).config == config


@pytest.mark.parametrize("preset", ["eventspd", "eventspd_lite", "eventspd_v9", "rgb_spd"])
def test_a_config_from_before_routing_could_be_chosen_is_that_of_the_preset(preset):
    values = preset_config(preset).to_dict()
    assert values["decoder"].pop("routing") == "attention"
    assert ModelConfig.from_dict(values) == preset_config(preset)


def test_every_number_is_kept():
    config = preset_config("minimal")
    config = replace(config, window_ms=10.0, head=replace(config.head, hidden=17, median_depth_m=3.5))
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("colour",), 1, r"unknown keys \['colour'\]"),
        (("encoder", "dim"), 1, r"config.encoder: unknown keys \['dim'\]"),
        (("head", "hidden"), "64", "config.head.hidden='64': expected int, got str"),
        (("head", "hidden"), True, "expected int, got bool"),
        (("encoder", "dims"), 3, "config.encoder.dims=3: expected a list"),
        (("encoder", "levels"), [[8, 8, 1.5]], "expected int, got float"),
        (("head", "parametrization"), "depth", "expected 'log' or 'inverse'"),
        (("window_ms",), None, "window_ms=None: expected float"),
        (("encoder",), 7, "expected keys and values, got 7"),
    ],
)
def test_bad_values_are_named(path, value, message):
    values = preset_config("minimal").to_dict()
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(values)


def test_missing_keys_are_named():
    values = preset_config("minimal").to_dict()
    del values["encoder"]
    with pytest.raises(ValueError, match=r"model config: missing keys \['encoder'\]"):
        ModelConfig.from_dict(values)


def test_unknown_presets_and_families_are_named():
    with pytest.raises(ValueError, match="preset 'huge' is unknown; choose one of minimal"):
        build_model("huge")
    with pytest.raises(ValueError, match="family 'giant' is unknown"):
        build_model(replace(preset_config("minimal"), family="giant"))


def test_heads_refuse_impossible_starts():
    with pytest.raises(ValueError, match="median_depth_m=0"):
        HeadConfig(median_depth_m=0.0)
    with pytest.raises(ValueError, match=r"initial_stddev=0\.005"):
        HeadConfig(initial_stddev=0.005)
