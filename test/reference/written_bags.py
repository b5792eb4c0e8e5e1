"""Small bags of simulated event packets, whole and as recorders that were stopped leave them."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
from reference.packets import event_array, joined
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer

from eventspd_ros.events.codecs import ENCODERS
from eventspd_ros.events.files.rosbag import bag_typestore
from eventspd_ros.events.messages import EVENT_PACKET


def some_events(count=5000, width=640, height=480, start_us=0):
    rng = np.random.default_rng(count)
    t_ns = (start_us + np.sort(rng.integers(0, 50_000, count))) * 1000
    return event_array(
        t_ns, rng.integers(0, width, count), rng.integers(0, height, count), rng.integers(0, 2, count), width, height
    )


def message(store, payload, seq=0, encoding="evt3", stamp_ns=10**18):
    time = store.types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    header = store.types["std_msgs/msg/Header"](time, "camera")
    return store.types[EVENT_PACKET](header, 480, 640, seq, 0, encoding, False, payload)


def write_bag(
    path, topics=("/events",), packets=20, plugin=StoragePlugin.MCAP, msgtype=EVENT_PACKET, start_ns=10**18, mode=None
):
    """A bag of simulated packets on each topic, compressed by mode; returns the events of one."""
    store, parts = bag_typestore(), []
    writer = Writer(path, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = [writer.add_connection(topic, msgtype, typestore=store) for topic in topics]
        for seq in range(packets):
            parts.append(some_events(1000 + seq, start_us=50_000 * seq))
            payload = ENCODERS["evt3"](parts[-1])
            for connection in connections:
                if msgtype == EVENT_PACKET:
                    data = store.serialize_cdr(message(store, payload, seq), msgtype)
                else:
                    data = store.serialize_cdr(store.types[msgtype]("text"), msgtype)
                writer.write(connection, start_ns + seq * 10**7, data)
    return joined(parts) if parts else None


def data_file(folder: Path) -> Path:
    """The one file of a bag's folder that is not its metadata."""
    (file,) = (path for path in folder.iterdir() if path.suffix != ".yaml")
    return file


def leave_log(bag: Path, out: Path, kept: int = 10, each: int = 1, restarts: bool = False) -> Path:
    """The sqlite3 file of a bag as a killed recorder leaves it: `kept` messages in it, the others in its log, so many
    a transaction. restarts: the log was begun anew before the last one."""
    out.mkdir()
    work = out / "work.db3"
    shutil.copy(data_file(bag), work)
    recorder = sqlite3.connect(work, isolation_level=None)
    rows = recorder.execute("SELECT * FROM messages ORDER BY id").fetchall()
    recorder.execute("DELETE FROM messages WHERE id > ?", (kept,))
    recorder.execute("VACUUM")
    recorder.execute("PRAGMA journal_mode=WAL")
    recorder.execute("PRAGMA wal_autocheckpoint=0")
    for first in range(kept, len(rows), each):
        if restarts and first + each >= len(rows):
            recorder.execute("PRAGMA wal_checkpoint(RESTART)")
        recorder.execute("BEGIN")
        recorder.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows[first : first + each])
        recorder.execute("COMMIT")
    for ending in ("", "-wal"):
        shutil.copy(f"{work}{ending}", out / f"bag_0.db3{ending}")
    recorder.close()
    work.unlink()
    return out / "bag_0.db3"
