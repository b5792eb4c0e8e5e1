"""A model with every stage of EventSPD, small enough for a test."""

from dataclasses import replace

import torch

from eventspd_ros.model.config import LEVELS_MVSEC, DecoderConfig, EncoderConfig, HeadConfig, ModelConfig, PyramidConfig
from eventspd_ros.model.eventspd import EventSPD
from eventspd_ros.model.presets import build_model

CHANNELS = (16, 24, 32, 48)


def small_config(**head) -> ModelConfig:
    """The document's stages, narrow; head: fields of HeadConfig, by default as in the `eventspd` preset."""
    return ModelConfig(
        preset="small",
        family="eventspd",
        encoder=EncoderConfig((16, 16), (2, 1), (3, 1), (2, 2), (1, 1), (7, 7), levels=LEVELS_MVSEC),
        head=replace(HeadConfig(parametrization="inverse"), **head),
        pyramid=PyramidConfig(CHANNELS, blocks=(1, 1, 2, 1), kernels=(5, 7), window=4, heads=(2, 2)),
        decoder=DecoderConfig(dim=32, heads=2, channels=CHANNELS, anchors=4, attention_dropout=0.0),
    )


def small_model(**head) -> EventSPD:
    """Fresh weights, always the same, in eval mode."""
    torch.manual_seed(0)
    return build_model(small_config(**head))
