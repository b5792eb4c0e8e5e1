"""AEDAT4, DAT and ES recordings through faery (https://github.com/aestream/faery), in a process of its own."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from eventspd_ros.events.files.checks import given_size, sensor_size, times_in_ns
from eventspd_ros.events.files.source import DecodedSource
from eventspd_ros.nanoseconds import NS_PER_US

EVENT_BYTES = 8 + 2 + 2 + 1
HEAD = struct.Struct("<cQ")
INSTALL = "pip install 'faery>=0.7.1'"


class FaerySource(DecodedSource):
    """A .aedat4, .dat or .es file. topic: number of the track, where an .aedat4 has several with events."""

    def __init__(self, path: Path, topic: str | None = None, sensor_hw: tuple[int, int] | None = None):
        if not path.is_file():
            raise ValueError(f"{path}: is no file; name one")
        if topic is not None and not topic.isdecimal():
            raise ValueError(f"{path}: no track {topic!r}; tracks are numbers")
        self._arguments = [topic or "-1", *map(str, reversed(sensor_hw or (0, 0)))]
        self.path, self.kind = path, path.suffix.lower().removeprefix(".")
        with self._records() as records:
            width, height = struct.unpack("<II", next(records)[1])
        if (width, height) == (0, 0):
            width, height = given_size(path, sensor_hw)
        super().__init__(path, "", *sensor_size(path, width, height, "its header"), topics=(topic,) if topic else ())

    def _pieces(self) -> Iterator[tuple[np.ndarray, ...]]:
        with self._records() as records:
            next(records)  # the size again
            for _, data in records:
                n = len(data) // EVENT_BYTES
                t_us = np.frombuffer(data, "<u8", n)
                x, y = (np.frombuffer(data, "<u2", n, first) for first in (8 * n, 10 * n))
                yield x, y, np.frombuffer(data, np.uint8, n, 12 * n), times_in_ns(f"{self.path}: t", t_us, NS_PER_US)

    @contextmanager
    def _records(self) -> Iterator[Iterator[tuple[bytes, bytes]]]:
        """What faery_process.py says of the file. The process ends with the block, whatever it is at."""
        command = [sys.executable, str(Path(__file__).with_name("faery_process.py")), str(self.path), *self._arguments]
        # A process may take an address space for each thread of OpenBLAS, which the limit of memory counts.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        none = subprocess.DEVNULL
        with subprocess.Popen(command, env=environment, stdin=none, stdout=subprocess.PIPE, stderr=none) as process:
            try:
                yield self._read(process)
            finally:
                process.kill()

    def _read(self, process: subprocess.Popen[bytes]) -> Iterator[tuple[bytes, bytes]]:
        pipe = process.stdout
        assert pipe is not None, "Popen() was asked for it"
        while True:
            head = pipe.read(HEAD.size)
            if len(head) < HEAD.size:
                raise ValueError(f"{self.path}: damaged; faery ended over it (status {process.wait()}); fetch it again")
            letter, size = HEAD.unpack(head)
            data = pipe.read(size)
            if letter == b"D":
                return
            if letter == b"M":
                raise ValueError(f"{self.path}: .{self.kind} files need the package faery; {INSTALL}")
            if letter == b"F":
                reason = data.decode(errors="replace")[:200]
                raise ValueError(f"{self.path}: damaged, or of a kind that is not read ({reason}); fetch it again")
            yield letter, data
