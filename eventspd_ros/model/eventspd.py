"""EventSPD: sparse query-point depth from event cameras. The story of the model, stage by stage.

    encode(): Phase A, once per event window                        decode(): Phase B, for every query pixel
      A1  events → F_t                  event_encoder.py              B1  91 tokens and h⁽⁰⁾        local_tokens.py
      A2  F_t → L1 … L4, memory         pyramid.py, memory.py         B2  local cross-attention     attention.py
      A3  shared projections            query_decoder.py              B3  global attention, routing attention.py
      A4  scale s_t and shift b_t       heads.py                      B4  deformable read           deformable_read.py
                                                                      B5  fused attention, depth    query_decoder.py

A predictor calls encode() and decode(). These are in the base class (point_depth.py), which turns windows into tensors
and calls phase_a() and phase_b() below. Training calls unroll() and phase_b() itself.

The event field sums F³'s encodings of the events at each pixel; F_t are its features at stride 2 (4 in eventspd_lite).
L1 … L4 are the pyramid's levels, finest first. G_t is L4 after the memory, a recurrent state h. z is a query's code,
from which its depth follows.

Equation numbers are those of the architecture document (EventSPD, research plan v12); docs/deviations.md says where we
differ. Depth is canonical: metres at a focal length of one image width; metric depth = canonical · fx_px / width_px.

Shapes: B windows, one of each stream; K queries a window; C_l channels and (H_l, W_l) cells of level l.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eventspd_ros.model.blocks import LayerNorm2d
from eventspd_ros.model.coarse_prior import CoarsePrior
from eventspd_ros.model.config import DecoderConfig, ModelConfig, PyramidConfig
from eventspd_ros.model.feature_cache import FeatureCache
from eventspd_ros.model.geometry import bilinear_read, size_hw
from eventspd_ros.model.heads import SharedScale, WindowCalibration, calibrated_depth
from eventspd_ros.model.memory import ConvGRU
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.pyramid import LEVELS, Pyramid, decoder_levels, level_cells
from eventspd_ros.model.query_decoder import DecoderContext, QueryDecoder
from eventspd_ros.model.stages import Phase, Stage

# Of the decoder: the name that each stage's time is added up under, "" for the rest.
DECODER_STAGES = {
    "b1": "B1 tokens",
    "b2": "B2 local",
    "b3": "B3 global",
    "b4": "B4 deformable",
    "b5": "B5 fused",
    "sigma": "",
}


@dataclass(frozen=True)
class EventSPDTensors:
    """Phase A's result: all that any query needs."""

    context: DecoderContext  # A3
    calibration: Tensor | None  # A4: s_t and b_t, (B, 2); None where depth is exp(z)
    prior: Tensor | None  # dense log depth (B, 1, H_2, W_2), where configured
    scale_stddev: Tensor | None  # standard deviation of the log scale that all depths share (B,), where configured
    levels: tuple[Tensor, ...]  # the pyramid's four, for the dense losses; kept in training only


class EventSPD(PointDepthModel):
    """The model of four presets: `eventspd` (as in the architecture document), `eventspd_lite` (the same family scaled
    for a CPU), `eventspd_v9` (the research plan before it: one more level at the encoder's stride, no memory) and
    `rgb_spd` (`eventspd_v9` on images)."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        pyramid, decoder = _matching_levels(config)
        head, channels = config.head, pyramid.channels
        self.pyramid = Pyramid(pyramid, self.encoder.channels)
        self.fine = None
        if len(decoder.strides) > LEVELS:
            # F³ ends in a plain sum. The image encoder ends in a norm and a GELU already.
            after_f3 = nn.Sequential(LayerNorm2d(self.encoder.channels), nn.GELU())
            self.fine = after_f3 if config.image is None else nn.Identity()
        self.memory = ConvGRU(channels[3], pyramid.memory_keep) if pyramid.memory else None
        # Where the window's scale and the single query both have an uncertainty, each starts with half the variance.
        stddev = head.initial_stddev / math.sqrt(2) if head.shared_scale else head.initial_stddev
        self.decoder = QueryDecoder(decoder, stddev)
        inverse = head.parametrization == "inverse"
        self.calibration = WindowCalibration(channels[3], head.median_depth_m) if inverse else None
        self.prior = CoarsePrior(channels[1:], head.median_depth_m) if head.prior else None
        self.shared_scale = SharedScale(channels[3], stddev) if head.shared_scale else None
        self._start_at_the_median()

    def phase_a(self, field: Tensor, memory: Tensor | None = None) -> tuple[EventSPDTensors, Tensor | None]:
        """A1–A4, from the event field (B, 8, H, W) and the memory h (B, C_4, H_4, W_4), None at a stream's start.

        Returns what phase_b() reads, and the next h, None for a model without memory. The windows of a batch belong to
        different streams. Nothing is detached: over several windows gradients flow through h (BPTT).
        """
        *fine, l4 = self._maps(field)
        if self.memory is None:
            return self._cache(fine, l4.to(field.dtype), size_hw(field)), None

        # The end of A2. The memory carries time: L4 and the last h become G_t (Eq. 3), which is also the next h.
        g4 = self.memory(l4, self._start(field) if memory is None else memory)

        return self._cache(fine, g4, size_hw(field)), g4

    def _maps(self, field: Tensor) -> list[Tensor]:
        """A1, and A2 without the step of the memory -> the levels that the decoder reads, finest first."""
        # A1. F³: the event field at full resolution → F_t at stride 2 (Eq. 2); of an image, a stem of convolutions.
        features = self.encoder(field)

        # A2. The pyramid; plan v9 also reads F_t itself.
        finest = [] if self.fine is None else [self.fine(features)]
        return [*finest, *self.pyramid(features)]

    def unroll(self, late: Tensor, early: Tensor | None = None) -> EventSPDTensors:
        """For training: the fields (n, B, 8, H, W) of n windows from a stream's start -> the last window's tensors.

        The result is that of phase_a() called window by window. early: windows before the late ones. A window's maps do
        not depend on the memory, so A1 and A2 take all late windows as one batch. Gradients flow through every step of
        the memory, but only into the features of the late windows.
        """
        if self.memory is None:
            return super().unroll(late, early)
        # A step at a time stays in a CPU's caches; a GPU takes as many windows at once as it differentiates.
        parts = () if early is None else early.split(1 if early.device.type == "cpu" else len(late))
        with torch.no_grad():
            before = [l4 for part in parts for l4 in self._maps(part.flatten(0, 1))[-1].unflatten(0, part.shape[:2])]
        *fine, l4 = self._maps(late.flatten(0, 1))
        memory = self._start(late[0])
        for top in (*before, *l4.unflatten(0, late.shape[:2])):
            memory = self.memory(top, memory)
        last = [level.unflatten(0, late.shape[:2])[-1] for level in fine]
        return self._cache(last, memory, size_hw(late))

    def _start(self, field: Tensor) -> Tensor:
        """The memory h at a stream's start."""
        return field.new_zeros((len(field), *self._top_shape(*size_hw(field))))

    def _cache(self, fine: Sequence[Tensor], g4: Tensor, sensor_hw: tuple[int, int]) -> EventSPDTensors:
        """The rest of Phase A, from the maps. fine: all levels but the coarsest, in whose place comes G_t (g4)."""
        *finest, l2, l3 = fine
        # Optional: a dense coarse log depth, whose fused maps the decoder reads.
        prior = None
        if self.prior is not None:
            prior, l2, l3 = self.prior(l2, l3, g4)

        # A3. Everything about the maps that no query changes.
        context = self.decoder.precompute((*finest, l2, l3, g4), sensor_hw)

        # A4. One scale and one shift for the window (Eqs. 4–5).
        calibration = None if self.calibration is None else self.calibration(g4)

        # Optional: how uncertain the scale of the whole window is.
        scale_stddev = None if self.shared_scale is None else self.shared_scale(g4) * self.config.head.temperature

        levels = (finest[-1], l2, l3, g4) if self.training else ()
        return EventSPDTensors(context, calibration, prior, scale_stddev, levels)

    def phase_b(self, tensors: EventSPDTensors, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """B1–B5: queries (B, K, 2) in pixels -> canonical depth and its standard deviation, both (B, K), metres.

        Queries do not see one another; some thousand are computed side by side. The steps of self.decoder:
        B1  b1   gathers 91 tokens around q from L1 … L4 and its first vector h⁽⁰⁾ from L1 at q (Eq. 6)
        B2  b2   h reads those tokens, two layers (Eqs. 7–9)
        B3  b3   h reads all cells of L4, two layers; the second one's attention routes to 32 anchors (Eqs. 10–12)
        B4  b4   each anchor reads L2 … L4 where it chooses, and becomes a token (Eqs. 13–21)
        B5  b5   h reads local and anchor tokens, three layers, and an MLP gives the code z_q (Eqs. 22–25);
            sigma  a linear head gives the standard deviation of log depth; the window's scale adds its own below
        """
        z, log_stddev = self.decoder(tensors.context, uv_px)
        log_stddev = log_stddev * self.config.head.temperature
        if tensors.scale_stddev is not None:
            log_stddev = (log_stddev.square() + tensors.scale_stddev[:, None].square()).sqrt()
        # Out of B5: the code becomes depth (Eq. 26).
        depth = self.depth(z, tensors, uv_px)
        return depth, depth * log_stddev

    def prior_depth(self, cache: FeatureCache, uv_px: Tensor) -> Tensor | None:
        """What the coarse map alone says at the queries, that is the depth for z = 0: see PointDepthModel."""
        if self.prior is None:
            return None
        uv_px = cache.to_seen(uv_px.to(self.device, torch.float32))[None]
        return self.depth(uv_px.new_zeros(uv_px.shape[:2]), cache.tensors, uv_px)[0] * cache.canonical_scale

    def depth(self, z: Tensor, tensors: EventSPDTensors, uv_px: Tensor) -> Tensor:
        """Codes z (B, K) -> canonical depth (B, K): Eq. 26, or exp(z), or exp(z + the coarse map at the query)."""
        if tensors.calibration is not None:
            return calibrated_depth(z, tensors.calibration)
        if tensors.prior is not None:
            z = z + bilinear_read(tensors.prior, uv_px.to(z.dtype), self.level_strides[1])[..., 0]
        return torch.exp(z)

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Pixels per cell of the pyramid's four levels."""
        return self.decoder.config.strides[-LEVELS:]

    def memory_shape(self, height: int, width: int) -> tuple[int, int, int] | None:
        """(C_4, H_4, W_4) for a sensor of that size in pixels, None without a memory."""
        # Computed for models without a memory too, as it raises ValueError for a sensor that is too small.
        shape = self._top_shape(height, width)
        return None if self.memory is None else shape

    def _top_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C_4, H_4, W_4) of L4."""
        pyramid = self.pyramid.config
        return (pyramid.channels[3], *level_cells(height, width, pyramid, self.config.stem.stride)[3])

    def stages(self) -> dict[str, Stage]:
        """As PointDepthModel.stages()."""
        a, pyramid, decoder = Phase.A, self.pyramid, self.decoder
        stages = super().stages() | ({} if self.fine is None else {"fine": Stage(self.fine, a)})
        for name in ("stem", "l1", "l2", "l3", "l4", "downs"):
            stages[name] = Stage(getattr(pyramid, name), a, "A2 pyramid")
        stages["convgru"] = Stage(self.memory or nn.Identity(), a, "A2 memory")
        stages |= {} if self.prior is None else {"prior": Stage(self.prior, a, "dense prior")}
        stages |= {} if self.shared_scale is None else {"scale": Stage(self.shared_scale, a)}
        stages |= {"a3": Stage(decoder.a3, a), "a4": Stage(self.calibration or nn.Identity(), a)}
        return stages | {name: Stage(getattr(decoder, name), Phase.B, timed) for name, timed in DECODER_STAGES.items()}

    def slow_parameters(self) -> list[nn.Parameter]:
        """The parameters that train at a tenth of the learning rate: the offset head of B4 (Eq. 15)."""
        return self.decoder.offset_parameters()

    def _start_at_the_median(self) -> None:
        """Make an untrained model answer about head.median_depth_m, through A4, the prior or the last bias."""
        last = self.decoder.b5.depth[-1]
        nn.init.trunc_normal_(last.get_parameter("weight"), std=0.02)
        nn.init.constant_(last.get_parameter("bias"), self.starting_code)

    @property
    def starting_code(self) -> float:
        """The code z that gives the median depth at the start: 0 where A4 or the prior already start at the median."""
        starts_elsewhere = self.calibration is not None or self.prior is not None
        return 0.0 if starts_elsewhere else math.log(self.config.head.median_depth_m)


def _matching_levels(config: ModelConfig) -> tuple[PyramidConfig, DecoderConfig]:
    """The configs of both. ValueError: the decoder does not read the levels that the pyramid makes."""
    if config.pyramid is None or config.decoder is None:
        raise ValueError(f"model config of preset {config.preset!r}: family 'eventspd' needs pyramid and decoder")
    made = decoder_levels(config.stem, config.pyramid, with_stem=len(config.decoder.strides) > LEVELS)
    if config.decoder.strides != made["strides"]:
        raise ValueError(
            f"decoder.strides={config.decoder.strides}: encoder and pyramid make levels at {made['strides']}"
        )
    if config.decoder.channels != made["channels"]:
        raise ValueError(f"decoder.channels={config.decoder.channels}: the pyramid has {made['channels']}")
    return config.pyramid, config.decoder
