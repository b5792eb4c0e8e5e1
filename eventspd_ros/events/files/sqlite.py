"""sqlite3 files that their recorder did not close: with a write-ahead log beside them, or cut off.

A recorder that was killed leaves what it wrote last in FILE-wal, which rosbags does not look at; one that lost power
leaves a file shorter than its header says. Both are read where they lie, which may be a read-only disc: sqlite sees
them through a VFS that writes, locks and deletes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import apsw
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2.metadata import parse_qos

from eventspd_ros.events.files.salvage import Salvaged

_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
_READ_ONLY = apsw.SQLITE_OPEN_READONLY
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE


class _Disk(apsw.VFS):
    """A sqlite3 file in the length that its header says, zeros behind what is there, and its log.

    missing: whether any of those zeros were read.
    """

    def __init__(self, path: Path):
        self.path = path.resolve()
        with self.path.open("rb") as file:
            header = file.read(100).ljust(100, b"\0")
        page_bytes, pages = struct.unpack_from(">H10xI", header, 16)
        self.file_bytes = self.path.stat().st_size
        self.shown_bytes = max(self.file_bytes, pages * (65536 if page_bytes == 1 else page_bytes))
        self.missing = False
        self.name = f"eventspd_disk_{id(self)}"
        super().__init__(self.name, "")

    def connect(self, flags: int = _READ_ONLY) -> apsw.Connection:
        """apsw.Error: no database."""
        database = apsw.Connection(self.path.as_uri(), flags=flags | apsw.SQLITE_OPEN_URI, vfs=self.name)
        database.execute("PRAGMA locking_mode=EXCLUSIVE")  # the log's index in memory, not in a file beside it
        return database

    def xOpen(self, name, flags):
        return _DiskFile(self, name, flags)

    def xAccess(self, name, flags) -> bool:
        return not name.endswith("-journal") and super().xAccess(name, flags)  # sqlite would write it back

    def xDelete(self, name, sync) -> None:
        pass  # sqlite deletes the log of an empty file


class _DiskFile(apsw.VFSFile):
    def __init__(self, disk: _Disk, name, flags):
        self._disk, self._is_main = disk, bool(flags[0] & apsw.SQLITE_OPEN_MAIN_DB)
        asked = flags[0]
        flags[0] = asked & ~(_READ_WRITE | apsw.SQLITE_OPEN_CREATE) | _READ_ONLY
        super().__init__("", name, flags)
        flags[1] = asked  # a checkpoint must believe that it may write

    def xFileSize(self) -> int:
        return self._disk.shown_bytes if self._is_main else super().xFileSize()

    def xRead(self, amount: int, offset: int) -> bytes:
        if not self._is_main:
            return super().xRead(amount, offset)
        there = max(0, min(amount, self._disk.file_bytes - offset))
        self._disk.missing |= there < amount
        return (super().xRead(there, offset) if there else b"").ljust(amount, b"\0")

    def xWrite(self, data, offset) -> None:
        pass

    def xTruncate(self, size) -> None:
        pass

    def xSync(self, flags) -> None:
        pass

    def xLock(self, level) -> None:
        pass

    def xUnlock(self, level) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False


def _beside(path: Path, ending: str) -> Path:
    """What sqlite keeps beside a file; of a link, beside what it leads to."""
    real = path.resolve()
    return real.with_name(real.name + ending)


def has_log(path: Path) -> bool:
    """Whether a recorder left a write-ahead log with something in it."""
    log = _beside(path, "-wal")
    return log.is_file() and log.stat().st_size > 0


def unfinished(path: Path) -> str | None:
    """What of the recorder's last writing is lost, by what it left beside the file; None where nothing is."""
    journal = _beside(path, "-journal")
    if journal.is_file():
        with journal.open("rb") as file:
            if file.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC:
                return f"{journal.name} is there: the recorder was stopped while it wrote"
    if has_log(path) and _loses_frames(path):
        return f"{_beside(path, '-wal').name} is damaged or cut off"
    return None


def _loses_frames(path: Path) -> bool:
    """Whether the log holds anything behind what sqlite takes from it, other than leftovers of an older round.

    sqlite takes all up to the last transaction whose checksums hold. A log begun anew overwrites the older round,
    whose first salt is a little lower (https://sqlite.org/fileformat2.html#walformat).
    """
    taken, log = _frames_taken(path), _beside(path, "-wal")
    size = log.stat().st_size
    with log.open("rb") as file:
        page_bytes, salt = struct.unpack(">8xI4xI12x", file.read(_LOG_HEADER_BYTES).ljust(_LOG_HEADER_BYTES, b"\0"))
        if taken <= 0:
            return True
        frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        for start in range(_LOG_HEADER_BYTES + taken * frame_bytes, size, frame_bytes):
            file.seek(start)
            (its_salt,) = struct.unpack(">8xI", file.read(12).ljust(12, b"\0"))
            if not 0 < (salt - its_salt) % 2**32 < 2**16:
                return True
    return False


def _frames_taken(path: Path) -> int:
    """How many of the log's frames sqlite takes: those that a checkpoint would write back."""
    with _opened(path, _READ_WRITE) as (_, database):
        database.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the log
        frames, _ = database.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return frames


@contextmanager
def _opened(path: Path, flags: int = _READ_ONLY) -> Iterator[tuple[_Disk, apsw.Connection]]:
    disk = _Disk(path)
    with ExitStack() as stack:
        stack.callback(disk.unregister)
        database = disk.connect(flags)
        stack.callback(database.close)
        yield disk, database


class SalvagedSqlite(Salvaged):
    """A sqlite3 file and its log, row by row until a row needs bytes behind the file's end.

    end: what ended it before its end, None where it is whole.
    """

    _ORDER = "id"  # of the table itself: the index of times may be damaged

    def _walk(self) -> Iterator[tuple[Connection, int, bytes]]:
        self.end: str | None = "it is no database"
        with self.path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                return
        try:
            with _opened(self.path) as (disk, database):
                self._read_topics(database)
                strays = 0
                rows = database.execute(f"SELECT topic_id, timestamp, data FROM messages ORDER BY {self._ORDER}")
                for key, time_ns, data in rows:
                    if disk.missing:
                        self.end = "it is shorter than it says"
                        return
                    if key in self._by_key and isinstance(time_ns, int):
                        yield self._by_key[key], time_ns, data
                    else:
                        strays += 1
            self.end = f"{strays} messages are of no topic" if strays else None
        except (apsw.Error, UnicodeDecodeError) as error:  # here the file was cut, or overwritten
            self.end = str(error)

    def _read_topics(self, database: apsw.Connection) -> None:
        definitions = {}
        with suppress(apsw.Error, UnicodeDecodeError):  # damaged, or of a recorder that stores none
            rows = database.execute("SELECT topic_type, encoding, encoded_message_definition FROM message_definitions")
            definitions = {kind: MessageDefinition(_FORMATS[how], text) for kind, how, text in rows if how in _FORMATS}
        topics = database.execute("SELECT * FROM topics")
        for row in topics:
            columns = dict(zip([name for name, _ in topics.get_description()], row, strict=True))
            qos = []
            with suppress(Exception):  # damaged, or of a recorder that stores none
                qos = parse_qos(columns["offered_qos_profiles"])
            msgtype = columns.get("type")
            self._connect(columns.get("id"), columns.get("name"), msgtype, definitions.get(msgtype), qos)


class LoggedSqlite(SalvagedSqlite):
    """A whole sqlite3 file and its log, in order of time."""

    _ORDER = "timestamp"
