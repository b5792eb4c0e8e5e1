"""Recordings of events through one interface: open_events()."""

from __future__ import annotations

from pathlib import Path

from eventspd_ros.events.files.source import EventSource, is_bag_file

__all__ = ["EventSource", "open_events"]


def open_events(path: Path | str, topic: str | None = None, sensor_hw: tuple[int, int] | None = None) -> EventSource:
    """Open a Prophesee .raw file, a rosbag2 (folder, .mcap, .db3, .zstd of both) or this package's HDF5 (.h5, .hdf5).

    topic: which one, where a bag has several with events. sensor_hw: the sensor's height and width in pixels, for an
    old .raw file whose header names none. ValueError, one line: missing, unreadable, unknown encoding, another size, a
    topic of what is no bag.
    """
    source = _open(Path(path), topic, sensor_hw)
    source.check_size(sensor_hw)
    return source


def _open(path: Path, topic: str | None, sensor_hw: tuple[int, int] | None) -> EventSource:
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder; give a .raw, .h5, .mcap or .db3 file or a rosbag2 folder")
    ending = "" if path.is_dir() else path.suffix.lower()
    if topic is not None and ending in (".raw", ".h5", ".hdf5"):
        raise ValueError(f"{path}: topic {topic!r}, but only bags have topics; leave it out")
    if ending == ".raw":
        from eventspd_ros.events.files.raw import RawSource

        return RawSource(path, sensor_hw)
    if ending in (".h5", ".hdf5"):
        from eventspd_ros.events.files.hdf5 import Hdf5Source

        return Hdf5Source(path)
    if path.is_dir() or is_bag_file(path):
        from eventspd_ros.events.files.rosbag import RosbagSource

        return RosbagSource(path, topic)
    raise ValueError(
        f"{path}: {path.suffix or 'no suffix'} is no known recording; give .raw, .h5, .mcap, .db3 or folder"
    )
