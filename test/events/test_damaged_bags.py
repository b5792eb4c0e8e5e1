"""Bags as killed recorders and bad discs leave them: what is whole is read, and one line says what is not."""

import os
import resource
import sqlite3
import struct
from pathlib import Path

import lz4.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.packets import assert_same_events, joined
from reference.written_bags import data_file, leave_log, write_bag
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from eventspd_ros.events.files import open_events
from eventspd_ros.events.files.compressed import ENDING, plain_message, zstd
from eventspd_ros.events.files.rosbag import bag_typestore, open_bag
from eventspd_ros.events.files.salvage import _decompressed

SQLITE3, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
MODES = [(SQLITE3, CompressionMode.MESSAGE), (MCAP, CompressionMode.MESSAGE)]
MODES += [(SQLITE3, CompressionMode.FILE), (MCAP, CompressionMode.FILE), (MCAP, CompressionMode.STORAGE)]


def times_of(path) -> tuple[list[int], str | None]:
    """Numbers of the messages of a bag of write_bag(), and the line that says what is wrong with it."""
    numbers = []
    try:
        with open_bag(path) as bag:
            for _, time_ns, data in bag.messages():
                assert data[:2] == b"\0\1"
                numbers.append((time_ns - 10**18) // 10**7)
    except ValueError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path))
        return numbers, str(error)
    return numbers, None


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("folder", ["killed", "run #3"])
@pytest.mark.parametrize("restarts", [False, True])
def test_what_a_killed_recorder_left_in_its_log_is_read_where_it_lies(tmp_path, folder, restarts):
    events = write_bag(tmp_path / "bag", packets=40, plugin=SQLITE3)
    file = leave_log(tmp_path / "bag", tmp_path / folder, restarts=restarts)
    before = contents(file.parent)
    with sqlite3.connect(f"file:{file.as_posix().replace('#', '%23')}?immutable=1", uri=True) as without_log:
        count = without_log.execute("SELECT count(*) FROM messages").fetchone()
    assert count == (39 if restarts else 10,)
    (tmp_path / "link.DB3").symlink_to(file)
    for path in (file, file.parent, tmp_path / "link.DB3"):
        assert times_of(path) == (list(range(40)), None)
        assert_same_events(joined(list(open_events(path).chunks())), events)
    with open_bag(file) as bag:
        next(bag.messages())
        assert contents(file.parent) == before  # while it is read, too
    metadata = (tmp_path / "bag" / "metadata.yaml").read_text()  # of before the last messages, say
    (file.parent / "metadata.yaml").write_text(metadata.replace("bag.db3", "bag_0.db3").replace(": 40", ": 10"))
    assert times_of(file.parent) == (list(range(40)), None)
    (file.parent / "metadata.yaml").unlink()
    assert contents(file.parent) == before


def test_a_damaged_log_gives_what_comes_before_the_damage(tmp_path):
    write_bag(tmp_path / "bag", packets=40, plugin=SQLITE3)
    file = leave_log(tmp_path / "bag", tmp_path / "killed", each=3)
    log = file.with_name("bag_0.db3-wal")
    whole = log.read_bytes()
    damages = [whole[: len(whole) * share // 100 | 1] for share in (10, 50, 99)]
    for place in (3, 20, 40, len(whole) // 2, len(whole) - 5000, len(whole) - 5):
        damages.append(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
    for damaged in damages:
        log.write_bytes(damaged)
        numbers, line = times_of(file)
        assert 10 <= len(numbers) < 40 and numbers == list(range(len(numbers)))
        assert "bag_0.db3-wal is damaged or cut off" in line
    file.write_bytes(b"")  # sqlite itself would delete the log now
    assert times_of(file)[0] == [] and log.read_bytes() == damages[-1]


@pytest.mark.parametrize("has_index", [False, True])
def test_a_file_that_is_shorter_than_its_log_says_yields_no_zeros(tmp_path, has_index):
    write_bag(tmp_path / "bag", packets=40, plugin=SQLITE3)
    with sqlite3.connect(data_file(tmp_path / "bag")) as database:
        database.execute("UPDATE messages SET data = substr(data, 1, 4620)")  # several to a page, and their ends behind
        if not has_index:
            database.execute("DROP INDEX timestamp_idx")
    database.close()
    file = leave_log(tmp_path / "bag", tmp_path / "killed", kept=20)
    with open_bag(file) as bag:
        sent = {time_ns: data for _, time_ns, data in bag.messages()}
    whole = file.read_bytes()
    for size in (len(whole) // 2, len(whole) * 3 // 4, len(whole) - 8192, len(whole) - 4096):
        file.write_bytes(whole[:size])
        got = []
        with pytest.raises(ValueError, match="damaged"), open_bag(file) as bag:
            for _, time_ns, data in bag.messages():
                got.append(time_ns)
                assert data == sent[time_ns]
        assert len(got) < 40 or has_index
    assert len(got) > 10


def test_topics_that_stand_in_the_log_alone_keep_what_was_recorded_of_them(tmp_path):
    qos = [Qos(QosHistory.KEEP_LAST, 5, QosReliability.BEST_EFFORT, QosDurability.VOLATILE, *[QosTime(1, 0)] * 2,
               QosLiveliness.AUTOMATIC, QosTime(1, 0), False)]  # fmt: skip
    store = bag_typestore()
    store.register(get_types_from_msg("int32 value", "nobody_msgs/msg/Strange"))
    with Writer(tmp_path / "bag", version=9, storage_plugin=SQLITE3) as writer:
        strange = writer.add_connection("/a", "nobody_msgs/msg/Strange", typestore=store, offered_qos_profiles=qos)
        for time_ns in (30, 10, 20):
            message = store.types["nobody_msgs/msg/Strange"](time_ns)
            writer.write(strange, time_ns, store.serialize_cdr(message, "nobody_msgs/msg/Strange"))
    with open_bag(data_file(tmp_path / "bag")) as bag:
        (asked,) = bag.connections
    file = leave_log(tmp_path / "bag", tmp_path / "killed", kept=0)
    with open_bag(file) as bag:
        (got,) = bag.connections
        assert got.ext == asked.ext and got.msgdef == asked.msgdef and got.msgcount == 3
        assert (bag.start_ns, bag.duration_ns) == (10, 20)
        assert [message.value for _, _, message in bag.read("/a")] == [10, 20, 30]


def test_a_journal_of_a_recorder_that_was_stopped_is_said(tmp_path):
    write_bag(tmp_path / "bag", plugin=SQLITE3)
    journal = data_file(tmp_path / "bag").with_name("bag.db3-journal")
    journal.write_bytes(bytes(512))  # of one that has finished, and keeps it
    (tmp_path / "bag" / "metadata.yaml").unlink()
    assert times_of(tmp_path / "bag") == (list(range(20)), None)
    journal.write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(504))
    numbers, line = times_of(tmp_path / "bag")
    assert numbers == list(range(20)) and "bag.db3-journal is there" in line


@pytest.mark.parametrize("plugin, mode", MODES)
def test_compressed_bags_come_back_with_and_without_metadata(tmp_path, plugin, mode):
    events = write_bag(tmp_path / "bag", plugin=plugin, mode=mode)
    file = data_file(tmp_path / "bag")
    assert mode != CompressionMode.FILE or file.name.endswith(ENDING)
    assert times_of(tmp_path / "bag") == (list(range(20)), None)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    for path in (tmp_path / "bag", file):
        assert times_of(path) == (list(range(20)), None)
        assert_same_events(joined(list(open_events(path).chunks())), events)


@pytest.mark.parametrize("plugin", [SQLITE3, MCAP])
@pytest.mark.parametrize("has_metadata", [False, True])
def test_a_message_that_cannot_be_decompressed_is_left_out_and_said(tmp_path, plugin, has_metadata):
    write_bag(tmp_path / "bag", plugin=plugin, mode=CompressionMode.MESSAGE)
    file = data_file(tmp_path / "bag")
    whole = file.read_bytes()
    third = [place for place in range(len(whole)) if whole.startswith(b"\x28\xb5\x2f\xfd", place)][2]
    file.write_bytes(whole[: third + 4] + b"\xff" + whole[third + 5 :])
    if not has_metadata:
        (tmp_path / "bag" / "metadata.yaml").unlink()
    numbers, line = times_of(tmp_path / "bag")
    assert len(numbers) == 19 and "1 of 20 messages of /events are damaged or missing" in line


@pytest.mark.parametrize("plugin", [SQLITE3, MCAP])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_compressed_file_that_is_cut_or_garbage_is_one_line(tmp_path, plugin, in_folder):
    write_bag(tmp_path / "bag", packets=200, plugin=plugin, mode=CompressionMode.FILE)
    file = data_file(tmp_path / "bag")
    whole, path = file.read_bytes(), tmp_path / "bag" if in_folder else file
    file.write_bytes(whole[: len(whole) * 3 // 4])
    numbers, line = times_of(path)
    assert 60 < len(numbers) < 200 and numbers == list(range(len(numbers)))
    assert f"{file.name} is damaged or cut off (Compressed file ended before" in line
    for garbage in (b"", b"garbage", whole[:10], b"garbage" + whole):
        file.write_bytes(garbage)
        numbers, line = times_of(path)
        assert numbers == [] and f"{file.name} is damaged or cut off" in line and "nothing of it can be read" in line
    file.with_name(file.name[: -len(ENDING)]).write_bytes(zstd.decompress(whole))  # the recorder was compressing it
    assert not in_folder or times_of(path) == (list(range(200)), None)


def test_a_full_disc_is_one_line(tmp_path):
    write_bag(tmp_path / "bag", mode=CompressionMode.FILE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"\.mcap\.zstd: cannot be decompressed into .* TMPDIR$"):
            open_bag(data_file(tmp_path / "bag"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@given(st.binary(max_size=1 << 15), st.sampled_from(["zstd", "lz4"]), st.integers(0, 1 << 16), st.integers(0, 1 << 16))
@settings(max_examples=100, deadline=None)
def test_a_chunk_gives_what_comes_before_the_cut_and_no_more_than_asked(data, compression, cut, limit):
    compressed = zstd.compress(data) if compression == "zstd" else lz4.frame.compress(data)
    assert _decompressed(compression, compressed, len(data)) == data
    got = _decompressed(compression, compressed[:cut], limit)
    assert data.startswith(got) and len(got) <= limit
    assert cut < len(compressed) or got == data[:limit]


def test_chunks_behind_a_damaged_one_are_read(tmp_path):
    write_bag(tmp_path / "bag", packets=500, mode=CompressionMode.STORAGE)
    file = data_file(tmp_path / "bag")
    whole = file.read_bytes()
    second = whole.index(b"zstd", whole.index(b"zstd") + 4)
    damaged = bytearray(whole[:-8])
    damaged[second - 99_000 : second - 98_000] = bytes(1000)
    file.write_bytes(damaged)
    numbers, line = times_of(file)
    assert "is damaged or cut off" in line and numbers == sorted(numbers)
    assert numbers[0] == 0 and numbers[-1] == 499 and 350 < len(numbers) < 500


def test_a_chunk_whose_checksum_is_wrong_is_left_out(tmp_path):
    write_bag(tmp_path / "bag")
    file = data_file(tmp_path / "bag")
    start = file.read_bytes().index(b"\x06")  # the chunk's record, behind the header's
    body = bytearray(file.read_bytes()[:-8])
    for crc, count in ((0, 20), (1, 0)):
        struct.pack_into("<I", body, start + 9 + 24, crc)
        file.write_bytes(body)
        assert len(times_of(file)[0]) == count


def test_chunks_in_chunks_are_not_entered(tmp_path):
    record = b""
    for _ in range(3000):
        chunk = struct.pack("<QQQIIQ", 0, 0, len(record), 0, 0, len(record)) + record
        record = struct.pack("<BQ", 6, len(chunk)) + chunk
    (tmp_path / "deep.mcap").write_bytes(b"\x89MCAP0\r\n" + record)
    assert "nothing of it can be read" in times_of(tmp_path / "deep.mcap")[1]


def test_a_message_longer_than_any_is_not_decompressed(monkeypatch):
    message = zstd.compress(b"\0\1" + bytes(1000))
    assert len(plain_message(message)) == 1002
    assert plain_message(message[:-1]) is None and plain_message(b"\x04\x22\x4d\x18 of lz4") is None
    monkeypatch.setattr("eventspd_ros.events.files.compressed.MAX_BYTES", 1001)
    assert plain_message(message) is None


@pytest.mark.parametrize(
    "change, count, text",
    [
        ("UPDATE messages SET timestamp = 'soon' WHERE id = 3", 19, "1 of 20 messages of /events are damaged"),
        ("UPDATE messages SET timestamp = -1 WHERE id = 3", 19, "1 of 20 messages of /events are damaged"),
        (f"UPDATE messages SET timestamp = {2**62} WHERE id = 3", 19, "1 of 20 messages of /events are damaged"),
        ("UPDATE messages SET data = 'text' WHERE id = 3", 19, "1 of 20 messages of /events are damaged"),
        ("UPDATE messages SET topic_id = 7 WHERE id = 3", 19, "1 messages are of no topic"),
        ("UPDATE topics SET name = '/a' || char(10) || 'b'", 0, "nothing of it can be read"),
        ("UPDATE topics SET name = x'00ff'", 0, "nothing of it can be read"),
        ("UPDATE topics SET type = NULL", 0, "nothing of it can be read"),
    ],
)
def test_tables_that_no_recorder_writes_are_one_line(tmp_path, change, count, text):
    write_bag(tmp_path / "bag", plugin=SQLITE3)
    file = data_file(tmp_path / "bag")
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'")
    database.close()
    with sqlite3.connect(file) as database:
        database.execute(change)
    database.close()
    numbers, line = times_of(file)
    assert len(numbers) == count and text in line


def test_messages_of_no_topic_are_said_of_a_log_too(tmp_path):
    write_bag(tmp_path / "bag", plugin=SQLITE3)
    with sqlite3.connect(data_file(tmp_path / "bag")) as database:
        database.execute("UPDATE messages SET topic_id = 7 WHERE id = 3")
    database.close()
    numbers, line = times_of(leave_log(tmp_path / "bag", tmp_path / "killed"))
    assert len(numbers) == 19 and "1 messages are of no topic" in line


def test_messages_that_the_metadata_counts_and_the_file_lacks_are_said(tmp_path):
    write_bag(tmp_path / "bag", plugin=SQLITE3)
    with sqlite3.connect(data_file(tmp_path / "bag")) as database:
        database.execute("DELETE FROM messages WHERE id > 15")
    database.close()
    assert times_of(data_file(tmp_path / "bag")) == (list(range(15)), None)
    assert "5 of 20 messages of /events are damaged or missing" in times_of(tmp_path / "bag")[1]


def test_two_connections_of_one_topic_are_counted_together(tmp_path):
    write_bag(tmp_path / "bag", topics=("/a", "/b"), plugin=SQLITE3)
    with sqlite3.connect(data_file(tmp_path / "bag")) as database:
        database.execute("UPDATE topics SET name = '/both'")
        database.execute("UPDATE messages SET data = 'text' WHERE id = 3")
    database.close()
    numbers, line = times_of(data_file(tmp_path / "bag"))
    assert len(numbers) == 39 and "1 of 40 messages of /both are damaged or missing" in line


def test_what_is_no_file_is_no_bag(tmp_path):
    os.mkfifo(tmp_path / "pipe.mcap")
    (tmp_path / "folder.db3").mkdir()
    for path, line in (
        (tmp_path, "not a bag"),
        (tmp_path / "pipe.mcap", "a pipe"),
        (tmp_path / "folder.db3", "not a bag"),
    ):
        assert line in times_of(path)[1]
