"""Recordings of every format through one interface, and what happens with missing, damaged and foreign ones."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from reference.packets import assert_same_events, event_array, joined
from reference.written_bags import some_events, write_bag
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from eventspd_ros.events.codecs import ENCODERS
from eventspd_ros.events.files import open_events
from eventspd_ros.events.files.export import decode_to
from eventspd_ros.events.files.hdf5 import write_events_h5
from eventspd_ros.events.files.rosbag import bag_typestore, open_bag
from eventspd_ros.events.files.summary import summarise_events
from eventspd_ros.events.messages import EVENT_PACKET

BAGS = {
    "event_camera_py/test_events_1": ("evt3", 640, 480, 517),
    "event_camera_py/test_events_1/test_events_1.db3": ("evt3", 640, 480, 517),
    "event_camera_py/test_events_2": ("libcaer_cmp", 346, 260, 100),
    "event_camera_py/test_events_2/test_events_2_0.mcap": ("libcaer_cmp", 346, 260, 100),
    "event_camera_codecs/evt3_trigger": ("evt3", 1280, 720, 105),
    "event_camera_codecs/libcaer_rollover": ("libcaer", 640, 480, 201),
}

DVS_EVENT = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
DVS_EVENT_ARRAY = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"


@pytest.mark.parametrize("bag", BAGS)
def test_recorded_bags_open_as_they_are(data_dir, bag):
    source = open_events(data_dir / bag)
    assert (source.encoding, source.width, source.height, source.chunk_count) == BAGS[bag]
    assert (source.kind, source.topics) == ("rosbag2", ("/event_camera/events",))
    packets = list(source.packets())
    assert len(packets) == source.chunk_count
    assert all(p.stamp_ns > 10**18 and p.payload.dtype == np.uint8 for p in packets)
    assert sum(len(chunk) for chunk in source.chunks()) == source.stats.events


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_written_bag_comes_back(tmp_path, plugin):
    events = write_bag(tmp_path / "bag", plugin=plugin)
    assert_same_events(joined(list(open_events(tmp_path / "bag").chunks())), events)
    with open_bag(str(tmp_path / "bag")) as bag:
        assert bag.topics == ["/events"] and bag.connections[0].msgcount == 20
        assert bag.duration_ns >= 19 * 10**7 and bag.damage is None
        topic, time_ns, data = next(iter(bag.messages(["/events"])))
        assert (topic, time_ns) == ("/events", 10**18) and isinstance(data, bytes)
        assert bag.deserialize(data, EVENT_PACKET).seq == 0
        assert [m.seq for _, _, m in bag.read("/events")] == list(range(20))
        assert list(bag.messages(["/other"])) == []
        with pytest.raises(ValueError, match="no topic '/other'; its topics are /events"):
            next(bag.read("/other"))


@pytest.mark.parametrize("folder", ["run #3", "what?", "run%203", "café"])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_path_may_hold_what_sqlite_takes_for_its_own(tmp_path, folder, plugin):
    events = write_bag(tmp_path / "bag", plugin=plugin)
    (tmp_path / "bag").rename(tmp_path / folder)
    (file,) = (path for path in (tmp_path / folder).iterdir() if path.suffix != ".yaml")
    other = Path(shutil.copy(file, tmp_path / f"B#{file.suffix.upper()}"))
    for path in (tmp_path / folder, file, other):
        assert_same_events(joined(list(open_events(path).chunks())), events)
    other.write_bytes(other.read_bytes()[: -(other.stat().st_size // 3)])  # cut off
    with pytest.raises(ValueError, match="damaged"):
        list(open_events(other).chunks())


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_files_without_metadata_are_merged_by_time(tmp_path, plugin):
    """Parts of a recording whose names sort wrongly, and two recorders' of one moment."""
    (tmp_path / "all").mkdir()
    for number in (2, 10):
        write_bag(tmp_path / f"{number}", plugin=plugin, start_ns=10**18 + number * 10**9)
    start_ns = 10**18 + 2 * 10**9 + 5_000_000
    write_bag(tmp_path / "other", ("/chatter",), plugin=plugin, msgtype="std_msgs/msg/String", start_ns=start_ns)
    for name in ("2", "10", "other"):
        (file,) = (path for path in (tmp_path / name).iterdir() if path.suffix != ".yaml")
        shutil.copy(file, tmp_path / "all" / f"part_{name}{file.suffix}")
    with open_bag(tmp_path / "all") as bag:
        found = [(topic, time_ns) for topic, time_ns, _ in bag.messages()]
    times = [time_ns for _, time_ns in found]
    assert times == sorted(times) and len(found) == 60
    assert [topic for topic, _ in found[:4]] == ["/events", "/chatter"] * 2


def test_the_topic_with_events_is_found_or_asked_for(tmp_path):
    write_bag(tmp_path / "two", topics=("/left", "/right"), packets=3)
    with pytest.raises(ValueError, match="events on 2 topics; name one with --topic: /left, /right"):
        open_events(tmp_path / "two")
    source = open_events(tmp_path / "two", topic="/right")
    assert source.topics == ("/left", "/right") and len(list(source.packets())) == 3
    with pytest.raises(ValueError, match="no events on topic '/up'; they are on /left, /right"):
        open_events(tmp_path / "two", topic="/up")
    write_bag(tmp_path / "none", topics=("/chatter",), packets=3, msgtype="std_msgs/msg/String")
    with pytest.raises(ValueError, match=r"no topic of type event_camera_msgs/msg/EventPacket or .* are /chatter"):
        open_events(tmp_path / "none")
    write_bag(tmp_path / "empty", packets=0)
    with pytest.raises(ValueError, match="topic /events holds no message"):
        open_events(tmp_path / "empty")


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_no_recording_is_refused_in_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, content in (
        ("a.csv", b"x"),
        ("b.txt", b"x"),
        ("a.h5", b"nothing"),
        ("a.mcap", b""),
        ("a.db3", b"x" * 200),
        ("b.mcap", b"y"),
    ):
        (tmp_path / name).write_bytes(content)
    for name, text in (
        ("missing.raw", "no such file or folder"),
        ("a.csv", r"\.csv is no known recording"),
        ("b.txt", "names no sensor size"),
        ("a.h5", "not a readable HDF5 file"),
        ("a.mcap", "nothing of it can be read"),
        ("b.mcap", "nothing of it can be read"),
        ("a.db3", "nothing of it can be read"),
        ("folder", "not a bag"),
    ):
        with pytest.raises(ValueError, match=text) as error:
            open_events(tmp_path / name)
        assert one_line(error).startswith(str(tmp_path / name))
    with pytest.raises(ValueError, match="no such bag"):
        open_bag(tmp_path / "missing")


@pytest.mark.parametrize("bag", ["event_camera_py/test_events_1", "event_camera_py/test_events_2"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
@pytest.mark.parametrize("in_folder", [False, True])
def test_a_cut_bag_gives_every_event_before_the_cut_and_then_says_so(data_dir, tmp_path, bag, share, in_folder):
    shutil.copytree(data_dir / bag, tmp_path / "bag", copy_function=shutil.copyfile)
    (tmp_path / "bag").chmod(0o755)
    (file,) = (f for f in (tmp_path / "bag").iterdir() if f.suffix != ".yaml")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    path = tmp_path / "bag" if in_folder else file
    got = []
    with pytest.raises(ValueError, match="damaged or cut off") as error:
        for events in open_events(path).chunks():
            got.append(events)
    assert f"{len(got)} messages before that were read" in one_line(error)
    complete = list(open_events(data_dir / bag).chunks())
    sizes = [len(p.payload) for p in open_events(data_dir / bag).packets()]
    assert abs(sum(sizes[: len(got)]) / sum(sizes) - share) < 0.1
    assert_same_events(joined(got), joined(complete[: len(got)]))

    summary = summarise_events(path)
    assert summary["events"] == sum(map(len, got)) and "cut off" in summary["damage"]
    out = tmp_path / "out.h5"
    with pytest.raises(ValueError, match=f"the {summary['events']} events before it are in {out}"):
        decode_to(path, out)
    assert_same_events(joined(list(open_events(out).chunks())), joined(got))


def test_a_folder_without_one_of_its_files_says_so(tmp_path):
    write_bag(tmp_path / "bag", packets=3)
    (file,) = (tmp_path / "bag").glob("*.mcap")
    shutil.copy(file, tmp_path / "bag" / "bag_1.mcap")
    metadata = tmp_path / "bag" / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace(f"- {file.name}\n", f"- {file.name}\n  - bag_2.mcap\n", 1))
    with pytest.raises(ValueError, match=r"bag_2\.mcap is missing; \d+ messages"):
        list(open_events(tmp_path / "bag").packets())


def test_a_message_that_is_no_event_packet_is_named(tmp_path):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/events", EVENT_PACKET, typestore=bag_typestore())
        writer.write(connection, 1, b"\0\1\0\0abc")
    with pytest.raises(ValueError, match="a message of 7 bytes is no event_camera_msgs/msg/EventPacket") as error:
        open_events(tmp_path / "bag")
    one_line(error)


def test_hdf5_comes_back_in_pieces_of_any_size(tmp_path):
    parts = [some_events(count, start_us=50_000 * k) for k, count in enumerate((10, 0, 300_000, 70_000))]
    assert write_events_h5(tmp_path / "a.h5", parts, "evt3") == 370_010
    source = open_events(tmp_path / "a.h5")
    assert (source.kind, source.encoding, source.width, source.height) == ("hdf5", "evt3", 640, 480)
    chunks = list(source.chunks())
    assert len(chunks) == source.chunk_count == 2
    assert_same_events(joined(chunks), joined(parts))
    assert [column.dtype for column in (chunks[0].x, chunks[0].y, chunks[0].p, chunks[0].t_ns)] == [
        "u2",
        "u2",
        "u1",
        "i8",
    ]
    assert (tmp_path / "a.h5").stat().st_size < 370_010 * 10
    with pytest.raises(ValueError, match="holds decoded events and no packets"):
        source.packets()
    with pytest.raises(ValueError, match="events of 640x480 px after 346x260 px"):
        write_events_h5(tmp_path / "b.h5", [some_events(5, 346, 260), some_events(5)])
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["events/x"] = [1, 2]
    with pytest.raises(ValueError, match=r"of no HDF5 layout that is known \(.*\); it has events; convert it to text"):
        open_events(tmp_path / "c.h5")


def test_a_restart_of_the_sensor_comes_back(tmp_path):
    """In a chunk, between two, and before any event; what fell out of order by less than 100 ms is held."""
    first, second = some_events(1000, start_us=500_000), some_events(900)
    late = event_array([5_000_000, 4_000_000, 6_000_000], [1, 2, 3], [1, 2, 3], [1, 0, 1], 640, 480)
    for parts in ([joined([first, second]), first, second], [first, some_events(0), second], [late]):
        write_events_h5(tmp_path / "a.h5", parts)
        source = open_events(tmp_path / "a.h5")
        chunks = list(source.chunks())
        assert len(chunks) == source.chunk_count
        got, wanted = joined(chunks), joined(parts)
        if parts[0] is late:
            assert got.t_ns.tolist() == [5_000_000, 5_000_000, 6_000_000]
        else:
            assert_same_events(got, wanted)
    write_events_h5(tmp_path / "a.h5", [joined([first, second])])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["restarts"]
    with pytest.raises(ValueError, match=r"events/t_ns: time falls by 0\.5\d+ s after event 999; events must be"):
        list(open_events(tmp_path / "a.h5").chunks())


def change_attribute(name, value):
    def change(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return change


def change_column(name, value):
    def change(file):
        file[f"events/{name}"][-1] = value

    return change


@pytest.mark.parametrize(
    "change, text",
    [
        (change_attribute("format", "other"), "events/t_ns of a file of format 'other', not eventspd_events; write"),
        (change_attribute("version", None), "attribute version: missing or not int"),
        (
            change_attribute("version", 2),
            "version 2 of eventspd_events; this package reads 1; write the file",
        ),
        (change_attribute("width", None), "attribute width: missing or not int; write or fetch the file again"),
        (change_attribute("height", "tall"), "attribute height: missing or not int"),
        (change_attribute("width", -5), "attributes width, height: a sensor of -5x480 px; each side must be 1 to"),
        (change_attribute("encoding", None), "attribute encoding: missing or not str"),
        (change_column("x", 640), "events/x: values 0 to 640 among events 0 to 999; the sensor has 640x480 px"),
        (change_column("y", 65_535), "events/y: values 0 to 65535 among"),
        (change_column("p", 2), "events/p: values 0 to 2 among events 0 to 999; expected 0 and 1, or ±1"),
        (change_column("t_ns", -(10**12)), r"events/t_ns: time falls by 1000\.0\d+ s after event 998"),
        (
            change_column("t_ns", 2**63 - 1),
            r"events/t_ns: a time of 9\.22337e\+18, in units of 1 ns; the file is damaged",
        ),
        (lambda file: file["events/p"].resize((999,)), "events: columns of unequal length"),
        (lambda file: file.pop("events/y"), "events/y: missing; /events has p, t_ns, x"),
        (lambda file: (file["restarts"].resize((1,)), file["restarts"].__setitem__(0, 5000)), "restarts: 5000 to 5000"),
        (lambda file: file["restarts"].resize((1 << 20,)), "1048576 restarts of the clock"),
    ],
)
def test_what_is_wrong_in_own_hdf5_is_one_line(tmp_path, change, text):
    write_events_h5(tmp_path / "a.h5", [some_events(1000)], "evt3")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=text) as error:
        list(open_events(tmp_path / "a.h5").chunks())
    assert one_line(error).startswith(str(tmp_path / "a.h5"))


def test_a_bag_of_ros_1_names_its_converter(tmp_path):
    """And the line's own command makes a bag that is read."""
    store = get_typestore(Stores.ROS1_NOETIC)
    events = some_events(500)
    store.register(get_types_from_msg(DVS_EVENT, "dvs_msgs/msg/Event"))
    store.register(get_types_from_msg(DVS_EVENT_ARRAY, "dvs_msgs/msg/EventArray"))
    with Ros1Writer(tmp_path / "a.bag") as writer:
        connection = writer.add_connection("/dvs/events", "dvs_msgs/msg/EventArray", typestore=store)
        time, event = store.types["builtin_interfaces/msg/Time"], store.types["dvs_msgs/msg/Event"]
        rows = [
            event(int(x), int(y), time(int(t) // 10**9, int(t) % 10**9), bool(p))
            for x, y, p, t in zip(events.x, events.y, events.p, events.t_ns, strict=True)
        ]
        header = store.types["std_msgs/msg/Header"](0, time(1, 0), "camera")
        array = store.types["dvs_msgs/msg/EventArray"](header, 480, 640, rows)
        writer.write(connection, 10**9, store.serialize_ros1(array, connection.msgtype))
    for opened in (open_events, open_bag):
        with pytest.raises(ValueError, match="a ROS 1 bag; convert it, `") as error:
            opened(tmp_path / "a.bag")
    command = one_line(error).split("`")[1].split()
    assert command[0] == "rosbags-convert"
    subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], check=True)
    assert_same_events(joined(list(open_events(tmp_path / "a").chunks())), events)


@pytest.mark.parametrize("name", ["out.h5", "out.npz"])
def test_decoding_to_a_file_keeps_every_event(data_dir, tmp_path, name):
    bag = data_dir / "event_camera_codecs/evt3_trigger"
    out = tmp_path / name
    assert decode_to(bag, out) == 82469
    expected = joined(list(open_events(bag).chunks()))
    if name.endswith("h5"):
        got = joined(list(open_events(out).chunks()))
    else:
        with np.load(out) as file:
            got = event_array(file["t_ns"], file["x"], file["y"], file["p"], int(file["width"]), int(file["height"]))
            assert file["t_ns"].dtype == np.int64 and file["x"].dtype == np.uint16
    assert_same_events(got, expected)
    assert (got.width, got.height) == (1280, 720)


def test_wrong_outputs_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"cannot write \.csv; give OUT\.npz or OUT\.h5"):
        decode_to(tmp_path / "missing.raw", tmp_path / "out.csv")
    with pytest.raises(ValueError, match="no such file or folder"):
        decode_to(tmp_path / "missing.raw", tmp_path / "no" / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_the_summary_says_what_a_recording_holds(data_dir, tmp_path):
    summary = summarise_events(data_dir / "event_camera_py/test_events_1")
    assert summary["events"] == 343474 and summary["packets"] == 517 and summary["sensor"] == "640x480"
    assert summary["duration_s"] == pytest.approx(2.078178)
    assert summary["events_per_second"] == round(343474 / summary["duration_s"])
    assert summary["longest_gap_ms"] == pytest.approx(0.207)
    assert summary["on_share"] == pytest.approx(125183 / 343474, abs=1e-4)
    assert summary["damage"] is None and summary["lost_packets"] == 0
    json.dumps(summary)
    parts = [some_events(100), some_events(100, start_us=900_000)]
    write_events_h5(tmp_path / "gap.h5", parts)
    (tmp_path / "gap.raw").write_bytes(b"% evt 3.0\n% geometry 640x480\n% end\n")
    with (tmp_path / "gap.raw").open("ab") as file:
        for part in parts:  # packets of 64 KiB: the gap lies between two
            words = np.frombuffer(ENCODERS["evt3"](part).tobytes(), np.uint16)
            file.write(np.pad(words, (0, (1 << 15) - len(words)), constant_values=0xE000).tobytes())
    gap_ms = (parts[1].t_ns[0] - parts[0].t_ns[-1]) / 1e6
    for name in ("gap.h5", "gap.raw"):
        assert summarise_events(tmp_path / name)["longest_gap_ms"] == pytest.approx(gap_ms)
    write_events_h5(tmp_path / "empty.h5", [])
    empty = summarise_events(tmp_path / "empty.h5")
    assert (empty["events"], empty["duration_s"], empty["events_per_second"]) == (0, 0.0, None)
