"""A model with every stage of EventSPD, small enough for a test."""

from dataclasses import replace

import torch

from eventspd_ros.model.config import (
    LEVELS_MVSEC,
    DecoderConfig,
    EncoderConfig,
    HeadConfig,
    ImageConfig,
    ModelConfig,
    PyramidConfig,
)
from eventspd_ros.model.eventspd import EventSPD
from eventspd_ros.model.presets import build_model, preset_config

CHANNELS = (16, 24, 32, 48)


def small_config(v9: bool = False, image: bool = False, **head) -> ModelConfig:
    """The document's stages, narrow, or research plan v9's, on events or images; head: fields of HeadConfig, by default
    as in `eventspd`. With a prior the pyramid is residual, as in `eventspd_lite`."""
    residual = head.get("prior", False)
    config = ModelConfig(
        preset="small",
        family="eventspd",
        encoder=EncoderConfig(
            dims=(16, 16),
            dsstrides=(2, 1),
            dskernels=(3, 1),
            bottleneck=(2, 2),
            blocks=(1, 1),
            dwkernels=(7, 7),
            levels=LEVELS_MVSEC,
        ),
        head=replace(HeadConfig(parametrization="inverse"), **head),
        pyramid=PyramidConfig(CHANNELS, blocks=(1, 1, 2, 1), kernels=(5, 7), window=4, heads=(2, 2), residual=residual),
        decoder=DecoderConfig(dim=32, heads=2, channels=CHANNELS, anchors=4, attention_dropout=0.0),
    )
    if not (v9 or image):
        return config
    plan = preset_config("eventspd_v9").decoder
    stem = {"encoder": None, "image": ImageConfig(channels=16)} if image else {}
    return replace(
        config,
        **stem,
        pyramid=replace(config.pyramid, blocks=(int(image), 1, 2, 1), memory=False),
        decoder=replace(plan, dim=32, heads=2, channels=(16, *CHANNELS), anchors=4, attention_dropout=0.0),
    )


def small_model(**kind) -> EventSPD:
    """Fresh weights, always the same, in eval mode; kind: as small_config takes it."""
    torch.manual_seed(0)
    return build_model(small_config(**kind))


# Plan v9's stages, narrow enough for a test.
NARROW_V9 = {
    "pyramid": {"channels": [16, 24, 32, 48], "blocks": [0, 1, 2, 1], "heads": [2, 2]},
    "decoder": {"dim": 32, "heads": 2, "channels": [16, 16, 24, 32, 48], "attention_dropout": 0.0},
    "encoder": {"dims": [16, 16], "blocks": [1, 1]},
}
