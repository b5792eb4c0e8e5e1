"""What can still be read of a bag file that was cut off, in the shape of a rosbags reader.

A recorder that lost power leaves an mcap file without its index, or a sqlite3 file (sqlite.py) shorter than its header
says; rosbags refuses both as a whole, though all messages but the last are there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeGuard
from zlib import crc32

from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

from eventspd_ros.events.files.compressed import MAX_BYTES, zstd

SCHEMA, CHANNEL, MESSAGE, CHUNK = 3, 4, 5, 6
MCAP_MAGIC = b"\x89MCAP0\r\n"
# So much of a compressed chunk at a time: where its bytes are damaged, what came before them is there already.
_PIECE_BYTES = 1 << 12


class Salvaged:
    """The messages of a damaged file, read one after the other; the fields are those of a rosbags Reader."""

    def __init__(self, path: Path):
        self.path = path
        self._by_key: dict[int, Connection] = {}
        counts: dict[int, int] = {}
        first_ns, last_ns = None, 0
        for connection, time_ns, _ in self._walk():
            counts[connection.id] = counts.get(connection.id, 0) + 1
            first_ns = time_ns if first_ns is None else min(first_ns, time_ns)
            last_ns = max(last_ns, time_ns)
        self.connections = [c._replace(msgcount=counts.get(c.id, 0)) for c in self._by_key.values()]
        self.message_count = sum(counts.values())
        self.start_time, self.end_time = first_ns or 0, last_ns

    def messages(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """The messages of these connections, as they stand in the file."""
        wanted = {connection.id for connection in connections}
        yield from (item for item in self._walk() if item[0].id in wanted)

    def _walk(self) -> Iterator[tuple[Connection, int, bytes]]:
        raise NotImplementedError

    def _connect(
        self, key: object, topic: object, msgtype: object, definition: MessageDefinition | None = None, qos=()
    ) -> None:
        if isinstance(key, int) and key not in self._by_key and is_name(topic) and is_name(msgtype):
            definition = definition or MessageDefinition(MessageDefinitionFormat.NONE, "")
            ext = ConnectionExtRosbag2("cdr", list(qos))
            self._by_key[key] = Connection(key, topic, msgtype, definition, "", 0, ext, self)

    def __enter__(self) -> Salvaged:
        return self

    def __exit__(self, *_) -> None:
        pass


def is_name(name: object) -> TypeGuard[str]:
    """Whether it may be the name of a topic or type: a line that can be printed."""
    return isinstance(name, str) and name.isprintable()


class SalvagedMcap(Salvaged):
    """An mcap file, record by record (https://mcap.dev/spec)."""

    def _walk(self) -> Iterator[tuple[Connection, int, bytes]]:
        with self.path.open("rb") as file:
            if file.read(len(MCAP_MAGIC)) == MCAP_MAGIC:
                yield from self._records(file, {}, in_chunk=False)

    def _records(
        self, file: BinaryIO, schemas: dict[int, str], in_chunk: bool
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Up to where the file, or the chunk, was cut or overwritten."""
        start, end = file.tell(), file.seek(0, 2)
        file.seek(start)
        while len(head := file.read(9)) == 9:
            code, size = struct.unpack("<BQ", head)
            left = end - file.tell()
            if code not in (SCHEMA, CHANNEL, MESSAGE, CHUNK):
                file.seek(min(size, left), 1)
                continue
            if (size > left and (code != CHUNK or in_chunk)) or min(size, left) > MAX_BYTES:
                return
            record = file.read(min(size, left))
            try:
                if code == CHUNK:
                    if not in_chunk:
                        yield from self._records(BytesIO(_chunk_data(record)), schemas, in_chunk=True)
                elif code == MESSAGE:
                    key, _, time_ns, _ = struct.unpack_from("<HIQQ", record)
                    if key in self._by_key:
                        yield self._by_key[key], time_ns, record[22:]
                else:
                    self._define(code, record, schemas)
            except (struct.error, UnicodeDecodeError):
                return

    def _define(self, code: int, record: bytes, schemas: dict[int, str]) -> None:
        if code == SCHEMA:
            schemas[struct.unpack_from("<H", record)[0]] = _string(record, 2)[0]
        else:
            key, schema = struct.unpack_from("<HH", record)
            self._connect(key, _string(record, 4)[0], schemas.get(schema, ""))


def _string(record: bytes, start: int) -> tuple[str, int]:
    """A string with its length before it, and the place behind it."""
    (size,) = struct.unpack_from("<I", record, start)
    end = start + 4 + size
    return record[start + 4 : end].decode(), end


def _chunk_data(record: bytes) -> bytes:
    """A chunk's records, as many as its bytes give; none of a chunk that is all there but not as its checksum says."""
    try:
        size, crc = struct.unpack_from("<QI", record, 16)
        compression, start = _string(record, 28)
    except (struct.error, UnicodeDecodeError):
        return b""
    data = record[start + 8 :]
    if compression:
        data = _decompressed(compression, data, min(size, MAX_BYTES))
    return b"" if crc and len(data) >= size and crc32(data) != crc else data


def _decompressed(compression: str, data: bytes, max_bytes: int) -> bytes:
    if compression not in ("zstd", "lz4"):
        return b""
    decompressor = zstd.ZstdDecompressor() if compression == "zstd" else LZ4FrameDecompressor()
    out = bytearray()
    try:
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            while len(out) < max_bytes and not decompressor.eof:
                out += decompressor.decompress(piece, max_length=min(_PIECE_BYTES, max_bytes - len(out)))
                piece = b""
                if decompressor.needs_input:
                    break
    except (zstd.ZstdError, RuntimeError):
        pass  # here its bytes are damaged
    return bytes(out)
