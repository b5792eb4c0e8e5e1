"""What `eventspd pseudo-label` runs: a teacher's dense relative depth, written beside recordings ahead of training.

Each image that is aligned with the event pixels gets a label, at its own time. A file is what datasets.sequence's
PseudoLabels reads: predictions float16 (N, H, W, 1), relative inverse depth; mask bool (N, H, W), true where it is
not positive, as in the sky; ts int64 (N,), µs. Until all of a recording is done, labels gather in a hidden file
beside it, predictions one after another without a header, from whose length the next run sees where to go on.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import h5py
import hdf5plugin
import numpy as np
import torch

from eventspd_ros.datasets.catalogue import find_dataset, pseudo_path
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.nanoseconds import NS_PER_US
from eventspd_ros.training.teacher import Teacher
from eventspd_ros.whole import whole_file

BATCH = 8  # images a forward pass
STORED = np.dtype("<f2")  # 11 bits: finer than any teacher is right


def label_jobs(name: str, folder: Path | str, teacher: Teacher) -> list[LabelJob]:
    """What there is to do for a dataset at or below a folder: a job a sequence, those that are finished too.

    ValueError, one line: no sequences, a sequence without images, labels of another teacher.
    """
    kind, paths = find_dataset(name, folder)
    return [LabelJob(kind(path).open_images(), pseudo_path(path), teacher) for path in paths]


class LabelJob:
    """The pseudo-labels of one sequence, into the file `out`. done: images labelled already; count: of all.

    A file that is there is kept. Stopped at any moment, a job goes on when it is made and run again.
    """

    def __init__(self, sequence: Sequence, out: Path, teacher: Teacher):
        self.sequence, self.out, self.teacher = sequence, out, teacher
        self.times_ns = sequence.image_times_ns
        self.count = len(self.times_ns)
        if self.count == 0:
            raise ValueError(
                f"{out}: {sequence.dataset}/{sequence.name} has no images aligned with the event pixels; "
                f"docs/datasets.md says which datasets have them"
            )
        self.shape = (sequence.intrinsics.height, sequence.intrinsics.width)
        # Of another teacher or other images, labels begun or finished are not ours to go on with.
        made_from = repr((teacher.fingerprint, self.shape)).encode() + self.times_ns.tobytes()
        self.key = hashlib.sha256(made_from).hexdigest()
        self.begun = out.with_name(f".{out.name}.{self.key[:16]}.part")
        self.label_bytes = STORED.itemsize * self.shape[0] * self.shape[1]
        self.finished = out.exists()
        if self.finished:
            self._check_finished()
        self.done = self.count if self.finished else self._whole_labels()

    def run(self, progress: Callable[[int], object]) -> None:
        """Labels what is missing, then puts the file in its place. progress: called with how many images were done
        since the last call. ValueError, one line: it cannot be written, or another process is at it."""
        if self.finished:
            return
        try:
            with open(self.begun, "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._append_labels(file, progress)
                self._write_file()
                self.begun.unlink()
        except BlockingIOError:
            raise ValueError(f"{self.begun}: another process is writing it; wait for it, or end it") from None
        except OSError as error:
            raise ValueError(f"{self.out}: cannot be written ({error}); mend that and go on") from error

    def _append_labels(self, file: BinaryIO, progress: Callable[[int], object]) -> None:
        first = self._whole_labels()
        file.truncate(first * self.label_bytes)
        for start in range(first, self.count, BATCH):
            numbers = range(start, min(start + BATCH, self.count))
            images = np.stack([self.sequence.read_image(number) for number in numbers])
            labels = self.teacher.inverse_depth(torch.from_numpy(images)).cpu().numpy()
            with np.errstate(over="ignore"):  # too large is infinite, and masked
                file.write(labels.astype(STORED).tobytes())
            file.flush()
            progress(len(numbers))

    def _whole_labels(self) -> int:
        return min(self.begun.stat().st_size // self.label_bytes, self.count) if self.begun.exists() else 0

    def _check_finished(self) -> None:
        """A file of ours must be of this teacher and these images; one from elsewhere, without a key, is the user's."""
        try:
            with h5py.File(self.out, "r") as file:
                key = file.attrs.get("key", self.key)
        except OSError as error:
            raise ValueError(f"{self.out}: not a readable HDF5 file; remove it to label anew") from error
        if key != self.key:
            raise ValueError(f"{self.out}: is of another teacher or of other images; remove it to label anew")

    def _write_file(self) -> None:
        labels = np.memmap(self.begun, STORED, "r", shape=(self.count, *self.shape))
        packed = hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.BITSHUFFLE)
        with whole_file(self.out) as unfinished, h5py.File(unfinished, "w") as file:
            file.attrs.update(key=self.key, teacher=self.teacher.fingerprint)
            file["ts"] = self.times_ns // NS_PER_US
            shape, chunk = (*labels.shape, 1), (1, *self.shape, 1)
            predictions = file.create_dataset("predictions", shape, STORED, chunks=chunk, **packed)
            mask = file.create_dataset("mask", labels.shape, bool, chunks=chunk[:3], **packed)
            for number, label in enumerate(labels):
                predictions[number, ..., 0] = label
                mask[number] = ~(np.isfinite(label) & (label > 0))
