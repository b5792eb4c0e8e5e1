"""Recordings of events through one interface: open_events()."""

from __future__ import annotations

from pathlib import Path

from eventspd_ros.events.files.source import EventSource, is_bag_file

__all__ = ["EventSource", "open_events"]

KNOWN = ".raw, .h5, .hdf5, .npz, .txt, .aedat4, .dat, .es, .mcap or .db3 file or a rosbag2 folder"


def open_events(path: Path | str, topic: str | None = None, sensor_hw: tuple[int, int] | None = None) -> EventSource:
    """Open a recording of events, whatever its format: docs/recordings.md lists them.

    topic: which one, where a bag has several with events, or an HDF5 file several cameras. sensor_hw: height and width
    in pixels, where the file names none. ValueError, one line: missing, unreadable, of no known format, another size, a
    topic of what has none.
    """
    source = _open(Path(path), topic, sensor_hw)
    source.check_size(sensor_hw)
    return source


def _open(path: Path, topic: str | None, sensor_hw: tuple[int, int] | None) -> EventSource:
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder; give a {KNOWN}")
    ending = "" if path.is_dir() else path.suffix.lower()
    if topic is not None and ending in (".raw", ".npz", ".txt", ".dat", ".es"):
        raise ValueError(f"{path}: topic {topic!r}, but only bags have topics; leave it out")
    if ending == ".raw":
        from eventspd_ros.events.files.raw import RawSource

        return RawSource(path, sensor_hw)
    if ending in (".h5", ".hdf5"):
        from eventspd_ros.events.files.hdf5 import open_hdf5

        return open_hdf5(path, topic, sensor_hw)
    if ending in (".npz", ".txt"):
        from eventspd_ros.events.files.columns import open_columns

        return open_columns(path, sensor_hw)
    if ending in (".aedat4", ".dat", ".es"):
        from eventspd_ros.events.files.faery_source import FaerySource

        return FaerySource(path, topic, sensor_hw)
    if path.is_dir() or ending == ".bag" or is_bag_file(path):
        from eventspd_ros.events.files.rosbag import RosbagSource

        return RosbagSource(path, topic)
    raise ValueError(f"{path}: {path.suffix or 'no suffix'} is no known recording; give a {KNOWN}")
