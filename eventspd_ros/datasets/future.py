"""What F³ is pretrained on: a window of events, and the events that followed. No depth is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from eventspd_ros.datasets.augment import mirror
from eventspd_ros.datasets.feed import each_tensor, locate
from eventspd_ros.datasets.sample import cut_windows
from eventspd_ros.events.files.event_store import EventStore
from eventspd_ros.events.types import EventWindow
from eventspd_ros.model.event_tensors import PackedEvents
from eventspd_ros.nanoseconds import NS_PER_MS


@dataclass(frozen=True, slots=True)
class FuturePair:
    """context: [start, end). future: of the same length, [end, end + length)."""

    context: EventWindow
    future: EventWindow


@dataclass(frozen=True)
class PairBatch:
    """FuturePairs of one sensor: B windows and, in the same order, the windows that followed."""

    context: PackedEvents
    future: PackedEvents

    def pin_memory(self) -> PairBatch:
        """As Batch.pin_memory()."""
        return each_tensor(self, lambda events: events.pin_memory())


def collate_pairs(pairs: list[FuturePair]) -> PairBatch:
    """Pairs to one batch."""
    return PairBatch(
        PackedEvents.of([pair.context for pair in pairs]), PackedEvents.of([pair.future for pair in pairs])
    )


class FutureFeed:
    """Recordings one after another as one map-style dataset of FuturePairs; give a DataLoader
    collate_fn=collate_pairs.

    recordings: the `events` of sequences of any dataset, or any other EventStore. Contexts of window_ms follow one
    another without gap from a recording's first event on, as long as their future lies before its last.

    feed[i] is pair i; feed[epoch, i] is pair i as epoch `epoch` varies it: mirrored with probability `flip`, which
    depends on (seed, epoch, i) alone.
    """

    def __init__(self, recordings: Iterable[EventStore], window_ms: float = 20.0, flip: float = 0.0, seed: int = 0):
        if not (window_ms > 0 and 0 <= flip <= 1):
            raise ValueError(f"window_ms={window_ms}, flip={flip}: window_ms must be positive, flip in 0…1")
        self.recordings, self.flip, self.seed = list(recordings), flip, seed
        self.length_ns = round(window_ms * NS_PER_MS)
        self.ends = list(accumulate(self._contexts_of(recording) for recording in self.recordings))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, key: int | tuple[int, int]) -> FuturePair:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        number, context = locate(self.ends, index)
        recording = self.recordings[number]
        start_ns = recording.first_ns + context * self.length_ns
        now_ns, end_ns = start_ns + self.length_ns, start_ns + 2 * self.length_ns
        events = recording.read(start_ns, end_ns)
        pair = FuturePair(*cut_windows(events, np.array([[start_ns, now_ns], [now_ns, end_ns]])))
        if np.random.default_rng((self.seed, epoch, index)).random() < self.flip:
            return replace(pair, context=mirror(pair.context), future=mirror(pair.future))
        return pair

    def _contexts_of(self, recording: EventStore) -> int:
        if recording.count == 0:
            return 0
        return max((recording.last_ns + 1 - recording.first_ns) // self.length_ns - 1, 0)
