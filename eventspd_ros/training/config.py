"""What a training run is: one YAML file, read strictly. docs/training.md has the table of knobs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from eventspd_ros.datasets.augment import Augmentation
from eventspd_ros.model.config import ModelConfig, from_plain, to_plain
from eventspd_ros.model.presets import preset_config
from eventspd_ros.readable import check_readable
from eventspd_ros.text import one_line

YAML_ENDINGS = (".yaml", ".yml", ".json")  # every JSON file is YAML too


@dataclass(frozen=True)
class Source:
    """Sequences to read: a dataset of the catalogue and the folder it lies in. weight: how often it is drawn,
    relative to the others per sample. windows: of its samples, in place of the run's; 0: the run's."""

    folder: str
    dataset: str = "simulated"
    weight: float = 1.0
    windows: int = 0


@dataclass(frozen=True)
class DataConfig:
    """train, validation: where samples come from. A batch is of one sensor size.

    windows: event windows of a sample, the last of which ends at its label. workers: processes that read, a GPU or
    process. validation_samples: evenly spaced over the validation sources, without augmentation.
    """

    train: tuple[Source, ...]
    validation: tuple[Source, ...] = ()
    windows: int = 4
    workers: int = 2
    validation_samples: int = 64
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms of losses.py; a term of weight 0 is not computed.

    point: Eq. 29, with huber_delta in 1/m canonical. silog: Eq. 30, its variance_focus λ_var. nll: the uncertainty
    loss; joint: that of a window's points together, whose scale errs as one. dense_l2, dense_l3: Eq. 31, both times a
    factor that falls from 1 to dense_end over the run. feature_l3, feature_l4: Eq. 32, with teacher the folder of
    Depth Anything V2 weights. centre: L_ctr of plan v9.
    """

    point: float = 1.0
    huber_delta: float = 0.1
    silog: float = 0.5
    variance_focus: float = 0.5
    nll: float = 0.1
    joint: float = 0.0
    dense_l2: float = 0.5
    dense_l3: float = 0.25
    dense_end: float = 0.25
    centre: float = 0.0
    feature_l3: float = 0.0
    feature_l4: float = 0.0
    teacher: str = ""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up and a cosine down to final_share of learning_rate.

    offset_share, encoder_share: learning rates of B4's offset head and of F³, relative; encoder_share 0 freezes F³.
    averaging: decay of the running mean of weights that is validated and saved; 0: none.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    warmup_steps: int = 500
    final_share: float = 0.02
    clip_norm: float = 1.0
    offset_share: float = 0.1
    encoder_share: float = 1.0
    averaging: float = 0.999


@dataclass(frozen=True)
class RunConfig:
    """How long and how. steps: optimizer steps. batch: samples a step and process, in `accumulate` parts.

    precision: as Lightning Fabric names it: "bf16-mixed" or "32-true". The intervals are in steps.
    """

    seed: int = 0
    steps: int = 20_000
    batch: int = 8
    accumulate: int = 1
    precision: str = "bf16-mixed"
    validate_every: int = 1000
    checkpoint_every: int = 500
    picture_every: int = 1000

    def __post_init__(self):
        for name in ("steps", "batch", "accumulate", "validate_every", "checkpoint_every", "picture_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name}={getattr(self, name)}: must be at least 1")
        if self.batch % self.accumulate:
            raise ValueError(f"run.accumulate={self.accumulate}: must divide batch={self.batch}")


@dataclass(frozen=True)
class TrainConfig:
    """A training of depth. preset: the model; changes: nested keys of its ModelConfig to set otherwise, for ablations.

    initial: a checkpoint to start from, of the same config; initial_encoder: one whose F³ encoder to start from.
    queries: K of each sample. bptt: gradients flow through the memory over all windows of a sample, and into the
    features of this many, the last ones; the others cost a forward pass.
    """

    data: DataConfig
    preset: str = "eventspd_lite"
    changes: dict = field(default_factory=dict)
    initial: str = ""
    initial_encoder: str = ""
    queries: int = 2048
    bptt: int = 4
    losses: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self):
        for name in ("queries", "bptt"):
            if getattr(self, name) < 1:
                raise ValueError(f"train config.{name}={getattr(self, name)}: must be at least 1")
        if not self.data.train:
            raise ValueError("train config.data.train: is empty; name at least one source")
        self.model()

    def model(self) -> ModelConfig:
        """The preset with the changes made."""
        return ModelConfig.from_dict(merged(preset_config(self.preset).to_dict(), self.changes, "changes"))


@dataclass(frozen=True)
class PretrainConfig:
    """A pretraining of F³. preset: the model whose encoder it is, or an encoder's own preset.

    Of data, windows and most augmentations do not apply: a sample is 20 ms of events and the 20 ms that followed.
    """

    data: DataConfig
    preset: str = "eventspd"
    initial_encoder: str = ""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def model(self) -> ModelConfig:
        """The encoder with its pretraining head."""
        return replace(preset_config(self.preset), family="encoder", pyramid=None, decoder=None)


def to_yaml(config) -> str:
    """A config as the YAML that read_config() takes."""
    return yaml.safe_dump(to_plain(config), sort_keys=False)


def read_config(path: Path | str, kind: type = TrainConfig):
    """A run's YAML as a config of that kind. ValueError, one line: not YAML, unknown or missing keys, wrong values."""
    check_readable(path)
    if Path(path).suffix.lower() not in YAML_ENDINGS:
        raise ValueError(f"{path}: a run is described by a .yaml file, as in config/train; name one")
    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: is no YAML ({one_line(error)}); config/train has examples") from None
    try:
        return from_plain(kind, values, "config")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def merged(values: dict, changes: dict, where: str) -> dict:
    """values with the nested changes written over them; only keys that exist can change."""
    result = dict(values)
    for key, change in changes.items():
        if key not in result:
            raise ValueError(f"{where}: unknown key {key!r}; known are {sorted(result)}")
        nested = isinstance(change, dict) and isinstance(result[key], dict)
        result[key] = merged(result[key], change, f"{where}.{key}") if nested else change
    return result
