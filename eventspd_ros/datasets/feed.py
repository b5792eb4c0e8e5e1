"""From sequences to batches: what a DataLoader is given. The only file of this room that knows torch.

loader = DataLoader(Feed(sequences, Augmentation()), batch_size=8, num_workers=2, collate_fn=collate)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from eventspd_ros.cores import cores
from eventspd_ros.datasets.augment import Augmentation, augment, in_cells
from eventspd_ros.datasets.queries import TRAINING_QUERIES, LossMap, category_bits, draw_pixels
from eventspd_ros.datasets.sample import Intrinsics, Sample
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.events.pitch import pixel_pitch
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.event_tensors import PackedEvents

AnyBatch = TypeVar("AnyBatch")


class Feed:
    """Sequences one after another as one map-style dataset, augmented.

    feed[i] is sample i; feed[epoch, i] is sample i as epoch `epoch` varies it (a sampler may yield such pairs). What
    augmentation does depends on (seed, epoch, i) alone: not on the number of workers, nor on what was read before.
    model: samples are as the model of that ModelConfig sees them; None: as they are.
    """

    def __init__(
        self,
        sequences: Iterable[Sequence],
        augmentation: Augmentation | None = None,
        seed: int = 0,
        model: ModelConfig | None = None,
    ):
        self.sequences, self.augmentation, self.seed, self.model = list(sequences), augmentation, seed, model
        self.ends = list(accumulate(len(sequence) for sequence in self.sequences))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        number, own_index = locate(self.ends, index)
        sample = self.sequences[number][own_index]
        rng = np.random.default_rng((self.seed, epoch, index))
        if self.augmentation is not None:
            sample = augment(sample, rng, self.augmentation)
        pitch = None if self.model is None else pixel_pitch(self.model, *sample.depth_m.shape)
        return sample if pitch is None else in_cells(sample, pitch, rng)


def locate(ends: list[int], index: int) -> tuple[int, int]:
    """Which of several sets item `index` of all belongs to, and its index there. ends: of each set, counted through."""
    if not 0 <= index < (ends[-1] if ends else 0):
        raise IndexError(f"sample {index} of {ends[-1] if ends else 0}")
    number = bisect_right(ends, index)
    return number, index - (ends[number - 1] if number else 0)


@dataclass(frozen=True)
class Queries:
    """K queries of each of B samples. uv_px: float32 (B, K, 2), pixels. category: uint8 (B, K), Category.

    depth_m, pseudo_inverse_depth: float32 (B, K), the targets at these pixels, NaN where there is none. pseudo_alone:
    bool (B, K), where there is only the latter.
    """

    uv_px: Tensor
    category: Tensor
    depth_m: Tensor
    pseudo_inverse_depth: Tensor

    @property
    def pseudo_alone(self) -> Tensor:
        return self.pseudo_inverse_depth.isfinite() & ~self.depth_m.isfinite()


@dataclass(frozen=True)
class Batch:
    """B samples of one sensor size and one number of windows n.

    depth_m: float32 (B, H, W), NaN where unknown. pseudo_inverse_depth: likewise, all NaN for samples without one;
    None where no sample has one. event_mask: bool (B, H, W). category_bits: uint8 (B, H, W), what queries are drawn
    from. metric_per_canonical: float32 (B,), fx/W.
    events: n steps, oldest first, of B windows each, n·B in all. intrinsics, names, t_ns: of each sample. image: uint8
    (B, H, W, 3), black where a sample has none; None where no sample has one. has_image, scale_told: bool (B,).

    Batches are packed where samples are read, in a DataLoader's workers, so that the training process only passes them
    on: pin_memory() is what a DataLoader calls, to() what a step does.
    """

    depth_m: Tensor
    pseudo_inverse_depth: Tensor | None
    event_mask: Tensor
    category_bits: Tensor
    metric_per_canonical: Tensor
    events: PackedEvents
    intrinsics: list[Intrinsics]
    names: list[str]
    t_ns: list[int]
    image: Tensor | None
    has_image: Tensor
    scale_told: Tensor

    @property
    def windows(self) -> int:
        """n."""
        return len(self.events.counts) // len(self.names)

    def steps(self, first: int, last: int) -> PackedEvents:
        """The windows of steps first…last − 1."""
        return self.events.part(first * len(self.names), last * len(self.names))

    def pin_memory(self) -> Batch:
        """A copy from which a GPU fetches while the CPU goes on."""
        return each_tensor(self, lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """On a device; copies may still be under way."""
        return each_tensor(self, lambda tensor: tensor.to(device, non_blocking=True))

    def queries(
        self, rngs: Iterable[np.random.Generator], count: int = TRAINING_QUERIES, loss_map: LossMap | None = None
    ) -> Queries:
        """K = count queries of each sample (queries.py), drawn where the loss map is: in the training process.

        rngs: a random state for each sample, so that what is drawn does not depend on what else is in the batch.
        """
        with ThreadPoolExecutor(cores()) as pool:
            drawn = pool.map(partial(draw_pixels, count=count, loss_map=loss_map), self.category_bits.numpy(), rngs)
        uv, category = (_stack(list(column)) for column in zip(*drawn, strict=True))
        sample = torch.arange(len(uv))[:, None]
        depth = self.depth_m[sample, uv[..., 1], uv[..., 0]]
        pseudo = torch.full_like(depth, torch.nan)
        if self.pseudo_inverse_depth is not None:
            pseudo = self.pseudo_inverse_depth[sample, uv[..., 1], uv[..., 0]]
        return Queries(uv.float(), category, depth, pseudo)


def each_tensor(batch: AnyBatch, change: Callable[[Any], Any]) -> AnyBatch:
    """A dataclass with its tensors and packed events changed: they have methods of the same names."""
    values = {item.name: getattr(batch, item.name) for item in fields(batch)}  # type: ignore[arg-type]  # a dataclass
    changed = {name: change(value) for name, value in values.items() if isinstance(value, (Tensor, PackedEvents))}
    return replace(batch, **changed)  # type: ignore[type-var]  # a dataclass


def collate(samples: list[Sample]) -> Batch:
    """Samples to one batch. ValueError: samples of several sizes or numbers of windows."""
    kinds = {(*sample.depth_m.shape, len(sample.window_bounds_ns)) for sample in samples}
    if len(kinds) != 1:
        raise ValueError(f"a batch of samples of several (height, width, windows): {sorted(kinds)}; batch each apart")
    shape = samples[0].depth_m.shape
    return Batch(
        depth_m=_stack([sample.depth_m for sample in samples]),
        pseudo_inverse_depth=_stack_known(
            [s.pseudo_inverse_depth for s in samples], np.full(shape, np.nan, np.float32)
        ),
        event_mask=_stack([sample.event_mask for sample in samples]),
        category_bits=_stack([category_bits(sample) for sample in samples]),
        metric_per_canonical=torch.tensor([s.intrinsics.metric_per_canonical for s in samples], dtype=torch.float32),
        events=PackedEvents.of([window for step in zip(*(s.windows for s in samples), strict=True) for window in step]),
        intrinsics=[sample.intrinsics for sample in samples],
        names=[sample.name for sample in samples],
        t_ns=[sample.t_ns for sample in samples],
        image=_stack_known([sample.image for sample in samples], np.zeros((*shape, 3), np.uint8)),
        has_image=torch.tensor([sample.image is not None for sample in samples]),
        scale_told=torch.tensor([sample.scale_told for sample in samples]),
    )


def _stack_known(arrays: list[np.ndarray | None], nothing: np.ndarray) -> Tensor | None:
    """The arrays, with `nothing` for those that are None; None where all are."""
    if all(array is None for array in arrays):
        return None
    return _stack([nothing if array is None else array for array in arrays])


def _stack(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
