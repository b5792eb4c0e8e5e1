"""The named configurations, and building a model from one.

MODEL_PRESETS answer keypoints. ENCODER_PRESETS are F³ encoders with their pretraining head: what converted upstream
checkpoints and pretraining use.
"""

from __future__ import annotations

from dataclasses import replace

from eventspd_ros.model.config import (
    LEVELS_MVSEC,
    DecoderConfig,
    EncoderConfig,
    HeadConfig,
    ImageConfig,
    ModelConfig,
    PitchConfig,
    PyramidConfig,
)
from eventspd_ros.model.event_encoder import FeatureField
from eventspd_ros.model.eventspd import EventSPD
from eventspd_ros.model.minimal import MinimalModel
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.pyramid import decoder_levels


def _encoder(dims: tuple[int, int], bottleneck: int, **changes) -> EncoderConfig:
    """The shape that all published 20 ms encoders at full resolution share: two stages of three blocks of 7×7."""
    shape = {"dsstrides": (1, 1), "dskernels": (1, 1), "blocks": (3, 3), "dwkernels": (7, 7)} | changes
    return EncoderConfig(dims=dims, bottleneck=(bottleneck, bottleneck), **shape)


def _encoders() -> dict[str, EncoderConfig]:
    return {
        "hd_small": _encoder((32, 32), 2),  # also the published 640×480 encoder
        "hd_tiny": _encoder((16, 16), 2),
        "hd_micro": _encoder((8, 8), 4),
        "mvsec_small": _encoder((32, 32), 2, levels=LEVELS_MVSEC),
        "ds2": _encoder((64, 64), 2, dsstrides=(2, 1), dskernels=(3, 1)),
    }


def _models() -> dict[str, ModelConfig]:
    return {
        "minimal": ModelConfig(
            "minimal",
            "minimal",
            _encoder((32, 32), 2, dsstrides=(4, 1), dskernels=(5, 1), levels=LEVELS_MVSEC),
            head=HeadConfig(hidden=64),
        ),
        "eventspd": ModelConfig(
            "eventspd",
            "eventspd",
            _encoders()["ds2"],
            head=HeadConfig(parametrization="inverse"),
            pyramid=PyramidConfig(),
            decoder=DecoderConfig(),
        ),
        "eventspd_lite": _lite(),
        "eventspd_v9": _v9(),
        "rgb_spd": _rgb(),
    }


def _lite() -> ModelConfig:
    """The family for a CPU: F³ at stride 4, a narrow pyramid, a dense prior, no anchors; any sensor at one pitch."""
    encoder = _encoder((32, 32), 2, dsstrides=(4, 1), dskernels=(5, 1), blocks=(1, 1), levels=LEVELS_MVSEC)
    pyramid = PyramidConfig((32, 64, 96, 128), stem_stride=1, blocks=(1, 2, 2, 1), heads=(4, 4), residual=True)
    return ModelConfig(
        "eventspd_lite",
        "eventspd",
        encoder,
        head=HeadConfig(prior=True, shared_scale=True),
        pyramid=pyramid,
        decoder=DecoderConfig(
            dim=64,
            heads=4,
            **decoder_levels(encoder, pyramid),
            local_layers=2,
            global_layers=1,
            fused_layers=0,
            anchors=0,
        ),
        pitch=PitchConfig(),
    )


def _v9(blocks: tuple[int, ...] = (0, 2, 4, 2)) -> ModelConfig:
    """Research plan v9: F³'s own map as L1, a stride-4 intermediate, pooled surroundings, no memory."""
    encoder = _encoders()["ds2"]
    pyramid = PyramidConfig(blocks=blocks, kernels=(7, 7), memory=False)
    return ModelConfig(
        "eventspd_v9",
        "eventspd",
        encoder,
        head=HeadConfig(parametrization="inverse"),
        pyramid=pyramid,
        decoder=DecoderConfig(
            **decoder_levels(encoder, pyramid, with_stem=True),
            local_radius=(2, 1, 0, 0, 0),
            pooled_levels=2,
            adaptive_reach=(6.0, 4.0),
            local_layers=0,
            shared_keys=True,
            fused_layers=2,
            depth_expansion=1,
        ),
    )


def _rgb() -> ModelConfig:
    """RGB-SPD, research plan v9 §12: v9 on images, with blocks at stride 4 and twice the layers at L4."""
    return replace(_v9(blocks=(3, 2, 4, 4)), preset="rgb_spd", encoder=None, image=ImageConfig())


ENCODER_PRESETS = tuple(_encoders())
MODEL_PRESETS = tuple(_models())
Model = PointDepthModel | FeatureField
FAMILIES: dict[str, type[Model]] = {"encoder": FeatureField, "minimal": MinimalModel, "eventspd": EventSPD}


def preset_config(preset: str) -> ModelConfig:
    """The ModelConfig of a preset name."""
    if preset in ENCODER_PRESETS:
        return ModelConfig(preset, "encoder", _encoders()[preset])
    if preset in MODEL_PRESETS:
        return _models()[preset]
    raise ValueError(f"preset {preset!r} is unknown; choose one of {', '.join(MODEL_PRESETS + ENCODER_PRESETS)}")


def build_model(preset: str | ModelConfig) -> Model:
    """A model with fresh weights in eval mode on the CPU, from a preset's name or a ModelConfig."""
    config = preset_config(preset) if isinstance(preset, str) else preset
    if config.family not in FAMILIES:
        raise ValueError(f"model family {config.family!r} is unknown; expected one of {', '.join(FAMILIES)}")
    return FAMILIES[config.family](config).eval()
