"""Decoded events of a recording, written to one file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eventspd_ros.events.files import EventSource, open_events
from eventspd_ros.events.files.hdf5 import COLUMNS, write_events_h5
from eventspd_ros.events.types import EventArray
from eventspd_ros.whole import check_output, whole_file


def decode_to(
    path: Path | str, out: Path | str, topic: str | None = None, sensor_hw: tuple[int, int] | None = None
) -> int:
    """Decode a recording to OUT.npz (x, y, p, t_ns, width, height) or OUT.h5 (files/hdf5.py); returns the event count.

    .h5 is written as it is read; .npz holds everything in memory first. topic, sensor_hw: as of open_events().
    ValueError: another suffix; a damaged recording, after the events before the damage were written.
    """
    out = Path(out)
    if out.suffix not in (".npz", ".h5"):
        raise ValueError(f"{out}: cannot write {out.suffix or 'a file without suffix'}; give OUT.npz or OUT.h5")
    check_output(out, [path])
    source = open_events(path, topic, sensor_hw)
    reading = _Reading(source)
    with whole_file(out, [path]) as unfinished:
        if out.suffix == ".h5":
            count = write_events_h5(unfinished, reading, source.encoding)
        else:
            count = _write_npz(unfinished, reading)
    if reading.damage is not None:
        raise ValueError(f"{reading.damage}; the {count} events before it are in {out}")
    return count


class _Reading:
    """The chunks of a source under a progress bar, up to the damage if there is one."""

    def __init__(self, source: EventSource):
        self.source = source
        self.damage: ValueError | None = None

    def __iter__(self) -> Iterator[EventArray]:
        with tqdm(total=self.source.chunk_count, unit="chunk", desc=self.source.path.name, file=sys.stderr) as bar:
            try:
                for events in self.source.chunks():
                    yield events
                    bar.update()
            except ValueError as error:
                self.damage = error


def _write_npz(unfinished: Path, chunks: _Reading) -> int:
    parts = list(chunks)
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts] or [np.empty(0, dtype)])
        for name, dtype in COLUMNS.items()
    }
    np.savez(
        unfinished,
        x=columns["x"],
        y=columns["y"],
        p=columns["p"],
        t_ns=columns["t_ns"],
        width=chunks.source.width,
        height=chunks.source.height,
    )
    return len(columns["t_ns"])
