"""Configuration of the model core: frozen, saved inside every checkpoint, unknown keys refused.

Only what changes weights or numbers is here; how a model is run (device, table or hash, threads) is not.
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass

# Resolutions (x, y, t) of the four grid levels. Literals: computed in float64 some come out one too small (F³ takes
# int32 of a float32 exp).
LEVELS_HD = ((8, 8, 1), (27, 22, 2), (93, 63, 4), (320, 180, 8))
LEVELS_MVSEC = ((8, 8, 1), (22, 20, 2), (63, 53, 4), (180, 139, 8))


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A1, the F³ event encoder; one entry a stage where a field is a tuple (Das et al., arXiv 2509.25146)."""

    dims: tuple[int, ...]
    dsstrides: tuple[int, ...]  # stride of the convolution that opens a stage
    dskernels: tuple[int, ...]  # and its kernel
    bottleneck: tuple[int, ...]  # expansion of the block's hidden layer
    blocks: tuple[int, ...]
    dwkernels: tuple[int, ...]  # depthwise kernel of the blocks
    levels: tuple[tuple[int, int, int], ...] = LEVELS_HD
    level_features: int = 2
    time_bins: int = 20  # of 1 ms

    @property
    def channels(self) -> int:
        """Of the features."""
        return self.dims[-1]

    @property
    def stride(self) -> int:
        """Pixels per feature cell; also the patch that one cell's pretraining prediction covers."""
        product = 1
        for stride in self.dsstrides:
            product *= stride
        return product

    def __post_init__(self):
        stages = len(self.dims)
        for name in ("dsstrides", "dskernels", "bottleneck", "blocks", "dwkernels"):
            if len(getattr(self, name)) != stages:
                raise ValueError(
                    f"encoder.{name}={getattr(self, name)}: expected {stages} values, one for each of dims"
                )


@dataclass(frozen=True)
class ImageConfig:
    """A1 of a model on pictures, in the place of EncoderConfig (research plan v9, §12.1)."""

    channels: int = 64
    kernel: int = 7  # of the convolution that opens it
    stride: int = 2
    convolutions: int = 2  # of 3×3, after it


@dataclass(frozen=True)
class PyramidConfig:
    """A2: four levels, L1 at the stride of encoder and stem together, each next one at twice the stride."""

    channels: tuple[int, ...] = (64, 128, 192, 384)
    stem_stride: int = 2
    blocks: tuple[int, ...] = (2, 3, 4, 2)
    kernels: tuple[int, ...] = (7, 13)  # depthwise, of L1 and L2
    window: int = 8  # of L3, cells
    heads: tuple[int, ...] = (6, 6)  # of L3 and L4
    residual: bool = False  # L1 to L3 of dense 3×3 residual blocks: they learn from less; kernels and window are unused
    memory: bool = True  # a ConvGRU carries L4 from window to window; without it windows are independent
    memory_keep: float = 1.0  # the share of the memory that each window leaves: streams outlast what training unrolled

    def __post_init__(self):
        for name, count in (("channels", 4), ("blocks", 4), ("kernels", 2), ("heads", 2)):
            if len(getattr(self, name)) != count:
                raise ValueError(f"pyramid.{name}={getattr(self, name)}: expected {count} values")
        if not 0 < self.memory_keep <= 1:
            raise ValueError(f"pyramid.memory_keep={self.memory_keep}: expected more than 0 and at most 1")
        for channels, heads in zip(self.channels[2:], self.heads, strict=True):
            if channels % heads:
                raise ValueError(
                    f"pyramid.channels={self.channels}: expected multiples of heads={self.heads} at L3 and L4"
                )
        if self.channels[3] % 4:
            raise ValueError(f"pyramid.channels={self.channels}: L4 needs a multiple of 4 for its position code")


@dataclass(frozen=True)
class HeadConfig:
    """Where depth and its uncertainty leave the network, and where training starts from."""

    hidden: int = 384  # of the minimal model's MLP
    parametrization: str = "log"  # "log": depth = exp(z); "inverse": depth = 1 / (softplus(s·z + b) + ε), Eq. 26
    prior: bool = False  # a dense coarse log depth in Phase A, of which z is then the residual (needs "log")
    median_depth_m: float = 6.0  # canonical metres (fx = W): the depth an untrained head answers
    initial_stddev: float = 0.5  # of log depth: the uncertainty an untrained head answers
    temperature: float = 1.0  # the head's standard deviation times this is the answer; fitted on validation scenes
    shared_scale: bool = False  # the window also answers the σ of the log scale that its depths share (from L4)

    def __post_init__(self):
        if self.parametrization not in ("log", "inverse"):
            raise ValueError(f"head.parametrization={self.parametrization!r}: expected 'log' or 'inverse'")
        if self.prior and self.parametrization != "log":
            raise ValueError("head.prior=True: a residual to a coarse map needs head.parametrization='log'")
        if not self.median_depth_m > 0:
            raise ValueError(f"head.median_depth_m={self.median_depth_m}: expected a positive number of metres")
        if not self.temperature > 0:
            raise ValueError(f"head.temperature={self.temperature}: expected a positive factor")
        least = 0.01 * (2**0.5 if self.shared_scale else 1.0)
        if not self.initial_stddev > least:
            raise ValueError(f"head.initial_stddev={self.initial_stddev}: expected more than the floor of {least:.2g}")


@dataclass(frozen=True)
class DecoderConfig:
    """A3 and B1–B5, the query decoder; levels run from the finest to the one that is routed over."""

    dim: int = 192
    heads: int = 6
    channels: tuple[int, ...] = PyramidConfig.channels  # pyramid.decoder_levels() has them of other pyramids
    strides: tuple[int, ...] = (4, 8, 16, 32)  # pixels per cell
    local_radius: tuple[int, ...] = (2, 2, 2, 1)  # (2r + 1)² tokens a level, the finest without its centre; −1: none
    adaptive_points: int = 8  # further tokens of the finest level (of each pooled one), at learned offsets
    adaptive_reach: tuple[float, ...] = (6.0,)  # how far those reach, cells: of the finest level, or of each pooled one
    pooled_levels: int = 0  # finest levels of whose tokens only the maximum enters (plan v9), in pooled_context.py
    local_layers: int = 2  # B2
    global_layers: int = 2  # B3; 0: no global attention, and so none that could choose anchors
    shared_keys: bool = False  # one key and one value projection for all layers of B3 (plan v9)
    fused_layers: int = 3  # B5
    depth_expansion: int = 2  # hidden width of B5's depth MLP, times dim
    anchors: int = 32  # R of Eq. 12; 0: no deformable read, and B5 fuses the local tokens alone
    routing: str = "attention"  # what chooses anchors: B3's "attention" (Eq. 12), or "random" (ablations of plan v9)
    anchor_share: float = 0.125  # R never exceeds this share of the coarsest level's cells
    samples: int = 4  # M of Eq. 15: per head and level
    read_levels: int = 3  # B4 reads this many levels, the coarsest
    attention_dropout: float = 0.1

    def __post_init__(self):
        levels = len(self.channels)
        for name in ("strides", "local_radius"):
            if len(getattr(self, name)) != levels:
                raise ValueError(
                    f"decoder.{name}={getattr(self, name)}: expected {levels} values, one for each of channels"
                )
        if self.dim % self.heads:
            raise ValueError(f"decoder.dim={self.dim}: expected a multiple of heads={self.heads}")
        if self.local_layers and self.local_tokens == 0:
            raise ValueError(f"decoder.local_radius={self.local_radius}: local layers need tokens to read")
        if self.fused_layers and not self.anchors and not self.local_tokens:
            raise ValueError(f"decoder.fused_layers={self.fused_layers}: without tokens or anchors nothing is to fuse")
        self._check_anchors()
        if len(self.adaptive_reach) != max(self.pooled_levels, 1):
            count = max(self.pooled_levels, 1)
            raise ValueError(f"decoder.adaptive_reach={self.adaptive_reach}: expected {count} values")
        if self.pooled_levels:
            self._check_pooled()

    def _check_anchors(self) -> None:
        levels = len(self.channels)
        if self.routing not in ("attention", "random"):
            raise ValueError(f"decoder.routing={self.routing!r}: expected 'attention' or 'random'")
        if not self.anchors:
            if self.routing == "random":
                raise ValueError("decoder.routing='random': without anchors there is nothing to draw")
            return
        if self.routing == "attention" and not self.global_layers:
            raise ValueError(
                f"decoder.anchors={self.anchors}: routing by attention needs global_layers of at least 1; take "
                "routing 'random' without"
            )
        if not self.fused_layers:
            raise ValueError(f"decoder.anchors={self.anchors}: without fused_layers nothing reads them")
        if not 1 <= self.read_levels < levels:
            raise ValueError(f"decoder.read_levels={self.read_levels}: expected 1 to {levels - 1}, all but the finest")

    def _check_pooled(self) -> None:
        pooled, rest = self.local_radius[: self.pooled_levels], self.local_radius[self.pooled_levels :]
        if not rest or min(pooled) < 1 or set(rest) != {0}:
            raise ValueError(
                f"decoder.local_radius={self.local_radius}: with pooled_levels={self.pooled_levels} expected that many "
                "radii of 1 or more, then 0 for every other level"
            )

    @property
    def key_pairs(self) -> int:
        """Key and value projections of B3."""
        return min(self.global_layers, 1) if self.shared_keys else self.global_layers

    @property
    def tokens_by_level(self) -> tuple[int, ...]:
        """Tokens of B1 by level: (32, 25, 25, 9) by default. Pooled levels are one token, together."""
        if self.pooled_levels:
            return (1, *[0] * (self.pooled_levels - 1), *[1] * (len(self.channels) - self.pooled_levels))
        grids = [(2 * radius + 1) ** 2 if radius >= 0 else 0 for radius in self.local_radius]
        return (max(grids[0] - 1, 0) + self.adaptive_points, *grids[1:])

    @property
    def local_tokens(self) -> int:
        """Tokens of B1 together: 91 by default."""
        return sum(self.tokens_by_level)

    def anchor_count(self, cells: int) -> int:
        """R for a coarsest level of so many cells."""
        return max(1, min(self.anchors, int(self.anchor_share * cells)))


@dataclass(frozen=True)
class PitchConfig:
    """The picture that a model was trained on, about; it sees other sensors in cells of n×n pixels (events/pitch.py).

    columns: n is the sensor's width over these, rounded. aspect: height over width; where a picture is flatter, empty
    rows above and below make up for it.
    """

    columns: int = 320
    aspect: float = 0.75

    def __post_init__(self):
        if self.columns < 1 or not self.aspect > 0:
            raise ValueError(f"pitch: columns={self.columns}, aspect={self.aspect}: expected positive numbers")


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build a model again; family names the class, preset where the numbers come from."""

    preset: str
    family: str  # "encoder", "minimal" or "eventspd"
    encoder: EncoderConfig | None  # None: the model sees images
    window_ms: float = 20.0
    stride_ms: float = 8.333
    head: HeadConfig = field(default_factory=HeadConfig)
    pyramid: PyramidConfig | None = None
    decoder: DecoderConfig | None = None
    image: ImageConfig | None = None
    pitch: PitchConfig | None = None  # None: it sees every pixel of any sensor

    def __post_init__(self):
        if (self.encoder is None) == (self.image is None):
            raise ValueError(f"model config of preset {self.preset!r}: expected one of encoder and image")
        if self.image is not None and self.family != "eventspd":
            raise ValueError(f"model config of preset {self.preset!r}: family {self.family!r} sees events, not images")
        if self.image is not None and self.pitch is not None:
            raise ValueError(f"model config of preset {self.preset!r}: pitch is of events; a model on images has none")

    @property
    def input(self) -> str:
        """What a window is: "events" or "image"."""
        return "events" if self.image is None else "image"

    @property
    def stem(self) -> EncoderConfig | ImageConfig:
        """A1, whatever it sees."""
        stem = self.encoder or self.image
        assert stem is not None, "__post_init__() wants one of them"
        return stem

    def to_dict(self) -> dict:
        """Plain dicts, lists and numbers, for JSON and YAML."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        """The inverse of to_dict(). Unknown or missing keys and wrong types raise ValueError naming them."""
        return from_plain(cls, values, "model config")


def to_plain(value):
    """A dataclass (or what its fields hold) as plain dicts, lists and numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def from_plain(cls, values, where: str):
    """A frozen dataclass from plain values (of JSON or YAML), strictly; `where` names it in errors."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected keys and values, got {values!r}")
    known = {item.name: item for item in fields(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown keys {unknown}; known are {sorted(known)}")
    needed = {name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING}
    if needed - set(values):
        raise ValueError(f"{where}: missing keys {sorted(needed - set(values))}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _convert(kind, value, where: str):
    """One value to its annotated kind: a dataclass, a tuple, an optional or a plain type."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        inner = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if value is None else _convert(inner[0], value, where)
    if is_dataclass(kind):
        return from_plain(kind, value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}={value!r}: expected a list")
        item_kind = typing.get_args(kind)[0]
        return tuple(_convert(item_kind, item, f"{where}[{number}]") for number, item in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}={value!r}: expected {kind.__name__}, got {type(value).__name__}")
    return value
