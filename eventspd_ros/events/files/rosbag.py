"""rosbag2 recordings (sqlite3 and mcap) through the rosbags package, without a ROS installation.

open_bag() reads any topic; RosbagSource reads the events of one. A damaged bag is read as far as it goes.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from eventspd_ros.events.codecs import ENCODINGS
from eventspd_ros.events.files.compressed import ENDING, plain_message
from eventspd_ros.events.files.source import EventSource, is_bag_file
from eventspd_ros.events.files.storage import bag_files, open_file, open_folder, reason
from eventspd_ros.events.messages import (
    END_OF_TIME_NS,
    EVENT_PACKET,
    EVENT_TYPES,
    KEYPOINT_ARRAY,
    KEYPOINT_DEPTH_ARRAY,
    packet_parser,
)
from eventspd_ros.events.types import EventPacket
from eventspd_ros.readable import check_readable
from eventspd_ros.resources import find_resource

EVENT_PACKET_MSG = """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
KINDS = "a rosbag2 folder, a .mcap or a .db3 file, or one of these compressed (.zstd)"


def bag_typestore(connections: list[Connection] | tuple = ()):
    """A rosbags typestore: ROS 2's common messages, EventPacket, this package's own, and what the bag defines itself
    if that parses."""
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg(EVENT_PACKET_MSG, EVENT_PACKET))
    for name in (KEYPOINT_ARRAY, KEYPOINT_DEPTH_ARRAY):
        store.register(get_types_from_msg(find_resource(f"{name.partition('/')[2]}.msg").read_text(), name))
    for connection in connections:
        definition = connection.msgdef
        if connection.msgtype in store.fielddefs or definition.format == MessageDefinitionFormat.NONE:
            continue
        with suppress(Exception):  # a type that is never read must not make the bag unreadable
            if definition.format == MessageDefinitionFormat.IDL:
                types = get_types_from_idl(definition.data)
            else:
                types = get_types_from_msg(definition.data, connection.msgtype)
            store.register({name: fields for name, fields in types.items() if name not in store.fielddefs})
    return store


@cache
def _common_typestore():
    """Without a bag's own types; building one takes longer than opening most bags."""
    return bag_typestore()


class Bag:
    """An open bag: connections (rosbags Connection: topic, msgtype, msgcount, ext.offered_qos_profiles), messages.

    duration_ns, start_ns: of the recording. damage: what is wrong with it in words, None for a whole one.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._stack = ExitStack()
        self.damage: str | None = None
        try:
            self._readers = self._open_readers()
            if not any(reader.connections for reader in self._readers):
                raise ValueError(f"{self.path}: {self.damage or 'the bag holds no topic'}; nothing of it can be read")
        except OSError as error:
            self.close()
            raise ValueError(f"{self.path}: cannot be read ({error.strerror}); give {KINDS}") from error
        except ValueError:
            self.close()
            raise
        self.connections = _merged(self._readers)
        filled = [reader for reader in self._readers if reader.message_count]
        self.start_ns = min((reader.start_time for reader in filled), default=0)
        self.duration_ns = max((reader.end_time for reader in filled), default=0) - self.start_ns
        self._own_typestore = None

    def _open_readers(self) -> list:
        """One reader for a whole bag; one a file where the metadata or a file is of no use."""
        if not self.path.exists():
            raise ValueError(f"{self.path}: no such bag; give {KINDS}")
        if self.path.suffix.lower() == ".bag" and self.path.is_file():
            raise ValueError(
                f"{self.path}: a ROS 1 bag; convert it, `rosbags-convert --src {self.path} --dst "
                f"{self.path.with_suffix('')}` (of the rosbags package), and give that folder"
            )
        is_folder = self.path.is_dir()
        files = bag_files(self.path) if is_folder else [self.path] if is_bag_file(self.path) else []
        for file in files:
            check_readable(file)
        if is_folder:
            reader = open_folder(self.path, files, self._stack)
            if reader is not None:
                return [reader]
            if missing := _listed_files(self.path) - {_uncompressed(file.name) for file in files}:
                self._add_damage(f"{', '.join(sorted(missing))} is missing")
        if not files:
            raise ValueError(f"{self.path}: not a bag; give {KINDS}")
        readers = []
        for file in files:
            reader, damage = open_file(file, self._stack)
            readers.append(reader)
            self._add_damage(damage)
        return readers

    def _add_damage(self, damage: str | None) -> None:
        self.damage = "; ".join(filter(None, (self.damage, damage))) or None

    @property
    def topics(self) -> list[str]:
        """Names of all topics."""
        return [connection.topic for connection in self.connections]

    @property
    def contents(self) -> str:
        """All topics with their types, in words."""
        return ", ".join(f"{c.topic} ({c.msgtype})" for c in self.connections)

    def messages(self, topics: list[str] | None = None) -> Iterator[tuple[str, int, bytes]]:
        """(topic, time of recording in ns, serialized bytes), in order; all topics or those named.

        ValueError, after the last message that can be read, where the bag is damaged.
        """
        count = 0
        # Files without metadata that orders them may be parts of one recording, or several recorders' of one moment.
        streams = [self._messages_of(reader, topics) for reader in self._readers]
        for message in heapq.merge(*streams, key=itemgetter(1)):
            yield message
            count += 1
        if self.damage:
            raise ValueError(
                f"{self.path}: {self.damage}; {count} messages before that were read; "
                "record it again, or repair it with `ros2 bag reindex` or `mcap recover`"
            )

    def _messages_of(self, reader, topics: list[str] | None) -> Iterator[tuple[str, int, bytes]]:
        """One file's, decompressed, up to where it is damaged; what is no message of ROS is left out."""
        wanted = [c for c in reader.connections if topics is None or c.topic in topics]
        said: Counter[str] = Counter()
        for connection in wanted:  # several may have one topic
            said[connection.topic] += connection.msgcount
        lacking = said.copy()
        try:
            for connection, time_ns, data in reader.messages(wanted) if wanted else ():
                data = plain_message(data)
                if data is not None and isinstance(time_ns, int) and 0 <= time_ns < END_OF_TIME_NS:
                    lacking[connection.topic] -= 1
                    yield connection.topic, time_ns, data
        except Exception as error:  # whatever damaged bytes lead rosbags to
            self.damage = self.damage or f"damaged ({reason(error, self.path)})"
            return
        if lost := sorted(topic for topic, count in lacking.items() if count > 0):
            count, of = (sum(counter[topic] for topic in lost) for counter in (lacking, said))
            self.damage = self.damage or f"{count} of {of} messages of {', '.join(lost)} are damaged or missing"

    def deserialize(self, data: bytes, msgtype: str):
        """A message as an object whose fields are those of the .msg; arrays come back as NumPy arrays."""
        store = _common_typestore()
        if msgtype not in store.fielddefs:
            self._own_typestore = store = self._own_typestore or bag_typestore(self.connections)
        try:
            return store.deserialize_cdr(data, msgtype)
        except Exception as error:  # whatever the bytes lead rosbags to
            raise ValueError(
                f"{self.path}: a message of {len(data)} bytes is no {msgtype} ({type(error).__name__}); leave it out"
            ) from error

    def read(self, topic: str) -> Iterator[tuple[str, int, Any]]:
        """messages() of one topic, deserialized."""
        msgtype = next((c.msgtype for c in self.connections if c.topic == topic), None)
        if msgtype is None:
            raise ValueError(f"{self.path}: no topic {topic!r}; its topics are {self.contents}")
        for name, time_ns, data in self.messages([topic]):
            yield name, time_ns, self.deserialize(data, msgtype)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _uncompressed(name: str) -> str:
    return name.removesuffix(ENDING)


def _listed_files(folder: Path) -> set[str]:
    """The bag files that the folder's metadata.yaml names, each as it is called uncompressed."""
    metadata = folder / "metadata.yaml"
    text = metadata.read_text(errors="replace") if metadata.is_file() else ""
    return {Path(name).name for name in re.findall(r"- (\S+\.(?:mcap|db3))(?:\.zstd)?\s*$", text, re.MULTILINE)}


def _merged(readers: list) -> list[Connection]:
    """One connection a topic, with the message counts of all files."""
    by_topic: dict[str, Connection] = {}
    for reader in readers:
        for connection in reader.connections:
            known = by_topic.get(connection.topic)
            count = connection.msgcount + (known.msgcount if known else 0)
            by_topic[connection.topic] = (known or connection)._replace(msgcount=count)
    return list(by_topic.values())


def open_bag(path: Path | str) -> Bag:
    """Open a rosbag2 folder, .mcap or .db3 file, or either with .zstd.

    ValueError, one line: missing, or nothing of it can be read.
    """
    return Bag(path)


class RosbagSource(EventSource):
    """The event packets, or event arrays, of one topic of a bag."""

    kind = "rosbag2"

    def __init__(self, path: Path, topic: str | None = None):
        with open_bag(path) as bag:
            events = [c for c in bag.connections if c.msgtype in EVENT_TYPES]
            counts = {c.topic: c.msgcount for c in events}
            if not counts:
                raise ValueError(f"{path}: no topic of type {' or '.join(EVENT_TYPES)}; its topics are {bag.contents}")
            if topic is None and len(counts) > 1:
                raise ValueError(f"{path}: events on {len(counts)} topics; name one with --topic: {', '.join(counts)}")
            self.topic = topic or next(iter(counts))
            if self.topic not in counts:
                raise ValueError(f"{path}: no events on topic {topic!r}; they are on {', '.join(counts)}")
            self._msgtype = next(c.msgtype for c in events if c.topic == self.topic)
            first = next(self._packets(bag), None)
        if first is None:
            raise ValueError(f"{path}: topic {self.topic} holds no message; record it again")
        if first.encoding not in ENCODINGS:
            known = ", ".join(ENCODINGS)
            raise ValueError(
                f"{path}: topic {self.topic}: event encoding {first.encoding!r} is not known; known are {known}"
            )
        super().__init__(path, first.encoding, first.width, first.height, tuple(counts))
        self.chunk_count = counts[self.topic]

    def packets(self) -> Iterator[EventPacket]:
        with open_bag(self.path) as bag:
            yield from self._packets(bag)

    def _packets(self, bag: Bag) -> Iterator[EventPacket]:
        parse = packet_parser(self._msgtype, bag.deserialize)
        for _, _, data in bag.messages([self.topic]):
            try:
                packet = parse(data)
            except ValueError as error:
                said = str(error).removeprefix(f"{bag.path}: ")
                raise ValueError(f"{bag.path}: topic {self.topic}: {said}") from None
            yield packet
