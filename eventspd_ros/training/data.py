"""Which samples a step sees: a function of the seed and the step alone, so that a run resumes anywhere, on any number
of processes, and sees what it would have seen.

A step's samples, of all processes together, come from one source, as a batch has one sensor size. Each source is gone
through in an order shuffled anew each epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from torch.utils.data import DataLoader

from eventspd_ros.datasets.augment import Augmentation
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.feed import Feed, collate
from eventspd_ros.datasets.future import FutureFeed, collate_pairs
from eventspd_ros.datasets.sample import Windowing
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.training.config import DataConfig, RunConfig, Source

Key = tuple[int, int]  # (epoch, sample), as Feed takes it
Samples = tuple[Feed | FutureFeed, list[int]]  # all sources' as one dataset, and how many each has
DRAW_SOURCE, SHUFFLE, QUERIES = 1, 2, 3  # what a random state is for: part of its seed


@dataclass(frozen=True)
class Rank:
    """Which part of every step is this process's: rank of world."""

    rank: int = 0
    world: int = 1


class StepSampler:
    """The keys of this process's samples, one list a step (accumulate lists a step), from a step on.

    first: of each source, its first sample in the feed, and counts: how many it has; weights: how often it is drawn,
    relative to the others.
    """

    def __init__(self, counts: list[int], weights: list[float], run: RunConfig, place: Rank, start: int = 0):
        self.counts, self.run, self.place, self.start = counts, run, place, start
        self.first = np.cumsum([0, *counts[:-1]])
        mass = np.array(counts) * np.array(weights)
        self.chances = mass / mass.sum()

    def __iter__(self) -> Iterator[list[Key]]:
        """Endless. Steps before `start` are counted through: an epoch's order needs to know how many there were."""
        drawn = [0] * len(self.counts)
        orders: dict[int, tuple[int, np.ndarray]] = {}
        part = self.run.batch // self.run.accumulate
        for step in self._steps():
            source = int(np.random.default_rng((self.run.seed, DRAW_SOURCE, step)).choice(len(drawn), p=self.chances))
            mine = drawn[source] + self.place.rank * self.run.batch
            drawn[source] += self.place.world * self.run.batch
            if step < self.start:
                continue
            keys = [self._key(source, mine + offset, orders) for offset in range(self.run.batch)]
            for first in range(0, len(keys), part):
                yield keys[first : first + part]

    def _steps(self) -> Iterator[int]:
        step = 0
        while True:
            yield step
            step += 1

    def _key(self, source: int, position: int, orders: dict) -> Key:
        epoch, place = divmod(position, self.counts[source])
        if orders.get(source, (None,))[0] != epoch:
            rng = np.random.default_rng((self.run.seed, SHUFFLE, source, epoch))
            orders[source] = epoch, rng.permutation(self.counts[source])
        return epoch, int(self.first[source] + orders[source][1][place])


class RunData:
    """The training and validation samples of a run.

    train, validation: map-style datasets; train takes a Key. counts, validation_counts: samples of each source, in the
    order of the datasets; those of one source have one size. collate: samples to a batch.
    """

    def __init__(self, config: DataConfig, run: RunConfig, train: Samples, validation: Samples, collate):
        self.config, self.run, self.collate = config, run, collate
        (self.train, self.counts), (self.validation, self.validation_counts) = train, validation

    def sampler(self, place: Rank, start: int) -> StepSampler:
        return StepSampler(self.counts, [source.weight for source in self.config.train], self.run, place, start)

    def batches(self, place: Rank, start: int, pinned: bool = False) -> Iterator:
        """(batch, keys) for ever, from step `start` on. pinned: in memory from which a GPU fetches by itself."""
        return zip(
            self._loader(self.train, self.sampler(place, start), pinned), self.sampler(place, start), strict=False
        )

    def validation_batches(self, pinned: bool = False) -> Iterator:
        """Validation samples, evenly spaced, in batches of one source; read ahead, as those of training are."""
        total = sum(self.validation_counts)
        if not total:
            return iter(())
        chosen = np.linspace(0, total - 1, min(self.config.validation_samples, total)).astype(int)
        of_source = np.searchsorted(np.cumsum(self.validation_counts), chosen, side="right")
        by_source = [chosen[of_source == source].tolist() for source in np.unique(of_source)]
        step = self.run.batch
        keys = [some[first : first + step] for some in by_source for first in range(0, len(some), step)]
        return iter(self._loader(self.validation, keys, pinned))

    def _loader(self, samples, keys: Iterable[list], pinned: bool) -> DataLoader:
        workers = self.config.workers
        return DataLoader(samples, batch_sampler=keys, num_workers=workers, collate_fn=self.collate, pin_memory=pinned)


def depth_data(config: DataConfig, run: RunConfig, model: ModelConfig, images: bool = False) -> RunData:
    """Samples with depth for a model's windows. images: with the images that a teacher looks at."""

    def windowing(source: Source) -> Windowing:
        return Windowing(source.windows or config.windows, model.window_ms, model.stride_ms)

    def feed(sources: tuple[Source, ...], augmentation: Augmentation | None) -> Samples:
        by_source = [_open(source, windowing(source), images) for source in sources]
        counts = [sum(map(len, sequences)) for sequences in by_source]
        for source, count in zip(sources, counts, strict=True):
            if count == 0:
                wanted = windowing(source).count
                raise ValueError(f"{source.folder}: no sample has {wanted} windows of events before it")
        return Feed(chain.from_iterable(by_source), augmentation, run.seed, model), counts

    return RunData(config, run, feed(config.train, config.augmentation), feed(config.validation, None), collate)


def pretraining_data(config: DataConfig, run: RunConfig, window_ms: float) -> RunData:
    """Pairs of a window and its future. Of the augmentations, only flips apply."""

    def feed(sources: tuple[Source, ...], flip: float) -> Samples:
        stores = [[sequence.events for sequence in _open(source)] for source in sources]
        counts = [len(FutureFeed(of_source, window_ms)) for of_source in stores]
        for source, count in zip(sources, counts, strict=True):
            if count == 0:
                raise ValueError(f"{source.folder}: no recording is longer than two windows of {window_ms:g} ms")
        return FutureFeed(chain.from_iterable(stores), window_ms, flip, run.seed), counts

    train, validation = feed(config.train, config.augmentation.flip), feed(config.validation, 0.0)
    return RunData(config, run, train, validation, collate_pairs)


def _open(source: Source, windowing: Windowing | None = None, images: bool = False) -> list[Sequence]:
    """A source's sequences. ValueError: several sensor sizes, which no batch could hold."""
    sequences = open_dataset(source.dataset, source.folder, windowing, images=images)
    sizes = sorted({(sequence.intrinsics.width, sequence.intrinsics.height) for sequence in sequences})
    if len(sizes) > 1:
        raise ValueError(f"{source.folder}: sequences of several sizes {sizes} px; give each a source of its own")
    return sequences


def query_states(seed: int, keys: list[Key]) -> list[np.random.Generator]:
    """A random state for the queries of each sample, the same on however many processes."""
    return [np.random.default_rng((seed, QUERIES, *key)) for key in keys]
