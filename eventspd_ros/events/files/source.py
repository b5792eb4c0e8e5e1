"""What every recording of events offers, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eventspd_ros.events.codecs import DecoderStats, make_decoder
from eventspd_ros.events.files.checks import checked_events, held_times
from eventspd_ros.events.types import MAX_SENSOR_PIXELS, EventArray, EventPacket

READ_EVENTS = 1 << 18  # of a chunk, where the format leaves it open
_BAG_ENDINGS = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")


def is_bag_file(path: Path) -> bool:
    """Whether its name is that of a file of a rosbag2."""
    return path.name.lower().endswith(_BAG_ENDINGS)


class EventSource:
    """A recording of one sensor. chunks() always works; packets() where the recording holds undecoded packets.

    kind: "raw", "rosbag2", "hdf5", "dsec", "text", … encoding: as in EventPacket, or empty. width, height: px. topics:
    those that hold events. chunk_count: how many chunks() yields, for progress bars. stats: the decoder's counters once
    chunks() is under way.
    """

    kind = ""
    has_packets = True

    def __init__(self, path: Path, encoding: str, width: int, height: int, topics: tuple[str, ...] = ()):
        # What was decoded from a recording without an event knows no size.
        if (width, height) != (0, 0) or self.has_packets:
            if min(width, height) < 1 or width * height > MAX_SENSOR_PIXELS:
                raise ValueError(f"{path}: a sensor of {width}x{height} px is none; record or decode it again")
        self.path = path
        self.encoding, self.width, self.height, self.topics = encoding, width, height, topics
        self.chunk_count = 0
        self.stats: DecoderStats | None = None

    def check_size(self, sensor_hw: tuple[int, int] | None) -> None:
        """ValueError, one line: somebody says another size than the recording."""
        if sensor_hw not in (None, (self.height, self.width)):
            said = f"{sensor_hw[1]}x{sensor_hw[0]}"
            raise ValueError(f"{self.path}: its sensor has {self.width}x{self.height} px, not {said}; leave that out")

    def packets(self) -> Iterator[EventPacket]:
        """The recording's packets in order. ValueError, after the last whole one, where the recording is damaged."""
        raise ValueError(f"{self.path}: holds decoded events and no packets; read chunks()")

    def chunks(self) -> Iterator[EventArray]:
        """The recording's events in order, in arrays of convenient size."""
        decoder = make_decoder(self.encoding, self.width, self.height)
        for packet in self.packets():
            events = decoder.decode(packet)
            self.stats = decoder.stats
            yield events


class DecodedSource(EventSource):
    """A recording of decoded events that is read from its beginning on; a format fills in _pieces()."""

    has_packets = False

    def chunks(self) -> Iterator[EventArray]:
        count, newest_ns = 0, None
        where = tuple(f"{self.path}: {name}" for name in "xyp")
        for *columns, t_ns in self._pieces():
            times = held_times(f"{self.path}: t", t_ns, count, newest_ns)
            yield checked_events(where, columns, times, (self.width, self.height), count)
            count, newest_ns = count + len(times), int(times[-1])

    def _pieces(self) -> Iterator[tuple[np.ndarray, ...]]:
        """x, y and p as stored and t in ns, int64; none of them empty."""
        raise NotImplementedError
