"""Writes rosbag2 recordings through the rosbags package, without a ROS installation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer

from eventspd_ros.events.files.rosbag import bag_typestore
from eventspd_ros.whole import whole_folder

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}


class BagWriter:
    """A bag that is being written: topics first, then their messages; new_bag() makes one."""

    def __init__(self, writer: Writer):
        self._writer, self._store = writer, bag_typestore()
        self._connections: dict[str, Connection] = {}

    def new(self, msgtype: str, /, **fields) -> Any:
        """A message; arrays are NumPy's."""
        return self._store.types[msgtype](**fields)

    def add_topic(self, topic: str, msgtype: str, qos: Sequence[Qos] = ()) -> None:
        self._connections[topic] = self._writer.add_connection(
            topic, msgtype, typestore=self._store, offered_qos_profiles=qos
        )

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """time_ns: of recording."""
        connection = self._connections[topic]
        self._writer.write(connection, time_ns, self._store.serialize_cdr(message, connection.msgtype))


@contextmanager
def new_bag(path: Path | str, storage: str = "mcap") -> Iterator[BagWriter]:
    """A bag in a folder of that name, which appears when the block ends well.

    ValueError, one line: path exists, or the storage is another than those of STORAGES.
    """
    if storage not in STORAGES:
        raise ValueError(f"storage {storage!r}: must be one of {', '.join(STORAGES)}")
    # The storage file is named after the folder, which has its final name from the start.
    with whole_folder(path) as unfinished, Writer(unfinished, version=9, storage_plugin=STORAGES[storage]) as writer:
        yield BagWriter(writer)
