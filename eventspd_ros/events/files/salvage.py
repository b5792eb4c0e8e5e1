"""What can still be read of a bag file that was cut off, in the shape of a rosbags reader.

A recorder that lost power leaves an mcap file without its index, or a sqlite3 file shorter than its header says;
rosbags refuses both as a whole, though all messages but the last are there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import apsw
from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

try:
    from compression import zstd  # Python 3.14
except ImportError:
    from backports import zstd

SCHEMA, CHANNEL, MESSAGE, CHUNK = 3, 4, 5, 6
MCAP_MAGIC = b"\x89MCAP0\r\n"


class Salvaged:
    """The messages of a damaged file, read one after the other; the fields are those of a rosbags Reader."""

    def __init__(self, path: Path):
        self.path = path
        self.connections: list[Connection] = []
        counts: dict[int, int] = {}
        times = []
        for connection, time_ns, _ in self._walk():
            counts[connection.id] = counts.get(connection.id, 0) + 1
            times.append(time_ns)
        self.connections = [c._replace(msgcount=counts.get(c.id, 0)) for c in self.connections]
        self.message_count = len(times)
        self.start_time, self.end_time = min(times, default=0), max(times, default=0)

    def messages(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """The messages of these connections, as they stand in the file."""
        wanted = {connection.id for connection in connections}
        yield from (item for item in self._walk() if item[0].id in wanted)

    def _walk(self) -> Iterator[tuple[Connection, int, bytes]]:
        raise NotImplementedError

    def _connect(self, key: int, topic: str, msgtype: str) -> Connection:
        known = next((c for c in self.connections if c.id == key), None)
        if known is None:
            definition = MessageDefinition(MessageDefinitionFormat.NONE, "")
            ext = ConnectionExtRosbag2("cdr", [])
            known = Connection(key, topic, msgtype, definition, "", 0, ext, self)
            self.connections.append(known)
        return known

    def __enter__(self) -> Salvaged:
        return self

    def __exit__(self, *_) -> None:
        pass


class SalvagedMcap(Salvaged):
    """An mcap file, record by record (https://mcap.dev/spec)."""

    def _walk(self) -> Iterator[tuple[Connection, int, bytes]]:
        schemas: dict[int, str] = {}
        with self.path.open("rb") as file:
            if file.read(len(MCAP_MAGIC)) != MCAP_MAGIC:
                return
            try:
                yield from self._records(file, schemas)
            except (struct.error, UnicodeDecodeError):
                return  # here the file was cut, or overwritten

    def _records(self, file: BinaryIO, schemas: dict[int, str]) -> Iterator[tuple[Connection, int, bytes]]:
        start, end = file.tell(), file.seek(0, 2)
        file.seek(start)
        while len(head := file.read(9)) == 9:
            code, size = struct.unpack("<BQ", head)
            left = end - file.tell()
            if code not in (SCHEMA, CHANNEL, MESSAGE, CHUNK):
                file.seek(min(size, left), 1)
                continue
            record = file.read(min(size, left))
            if code == CHUNK:
                yield from self._records(BytesIO(_chunk_data(record)), schemas)
            elif size > left:
                return
            elif code == SCHEMA:
                schemas[struct.unpack_from("<H", record)[0]] = _string(record, 2)[0]
            elif code == CHANNEL:
                key, schema = struct.unpack_from("<HH", record)
                self._connect(key, _string(record, 4)[0], schemas.get(schema, ""))
            elif code == MESSAGE:
                key, _, time_ns, _ = struct.unpack_from("<HIQQ", record)
                connection = next((c for c in self.connections if c.id == key), None)
                if connection is not None:
                    yield connection, time_ns, record[22:]


def _string(record: bytes, start: int) -> tuple[str, int]:
    """A string with its length before it, and the place behind it."""
    (size,) = struct.unpack_from("<I", record, start)
    end = start + 4 + size
    return record[start + 4 : end].decode(), end


def _chunk_data(record: bytes) -> bytes:
    """A chunk's records, as many as its compressed bytes give."""
    if len(record) < 36:
        return b""
    try:
        compression, start = _string(record, 28)
        data = record[start + 8 :]
        if compression == "zstd":
            return zstd.ZstdDecompressor().decompress(data)
        if compression == "lz4":
            return LZ4FrameDecompressor().decompress(data)
        return data if compression == "" else b""
    except (zstd.ZstdError, RuntimeError, struct.error, UnicodeDecodeError, zlib.error):
        return b""


class SalvagedSqlite(Salvaged):
    """A sqlite3 file, row by row until a row needs bytes behind the file's end."""

    def _walk(self) -> Iterator[tuple[Connection, int, bytes]]:
        with self.path.open("rb") as file:
            header = file.read(100)
        if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
            return
        filled_up = _FilledUp(self.path, header)
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        database = apsw.Connection(f"{self.path.absolute().as_uri()}?immutable=1", flags=flags, vfs=filled_up.name)
        try:
            for key, topic, msgtype in database.execute("SELECT id, name, type FROM topics"):
                self._connect(key, topic, msgtype)
            by_key = {connection.id: connection for connection in self.connections}
            for key, time_ns, data in database.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
                if filled_up.was_needed:
                    return
                yield by_key[key], time_ns, data
        except (apsw.Error, KeyError):
            return  # here the file was cut
        finally:
            database.close()
            filled_up.unregister()


class _FilledUp(apsw.VFS):
    """Shows sqlite a cut file in the length that its header says, with zeros; was_needed: whether any were read."""

    def __init__(self, path: Path, header: bytes):
        page_bytes = struct.unpack_from(">H", header, 16)[0]
        page_bytes = 65536 if page_bytes == 1 else page_bytes
        self.file_bytes = path.stat().st_size
        self.shown_bytes = max(self.file_bytes, page_bytes * struct.unpack_from(">I", header, 28)[0])
        self.was_needed = False
        self.name = f"eventspd_salvage_{id(self)}"
        super().__init__(self.name, "")

    def xOpen(self, name, flags):
        return _FilledUpFile(self, name, flags)


class _FilledUpFile(apsw.VFSFile):
    def __init__(self, disk: _FilledUp, name, flags):
        self._disk = disk
        super().__init__("", name, flags)

    def xFileSize(self) -> int:
        return self._disk.shown_bytes

    def xRead(self, amount: int, offset: int) -> bytes:
        there = max(0, min(amount, self._disk.file_bytes - offset))
        self._disk.was_needed |= there < amount
        return (super().xRead(there, offset) if there else b"").ljust(amount, b"\0")


def salvage(path: Path) -> Salvaged:
    """A reader for a damaged .mcap or .db3 file; it may find nothing."""
    return SalvagedMcap(path) if path.suffix.lower() == ".mcap" else SalvagedSqlite(path)
