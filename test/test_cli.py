import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rosbags.rosbag2 import StoragePlugin, Writer

from eventspd_ros import __version__
from eventspd_ros.cli import main
from eventspd_ros.cli.document import NOTES, commands, document
from eventspd_ros.events.codecs.evt3 import encode_evt3
from eventspd_ros.events.files.rosbag import bag_typestore
from eventspd_ros.events.types import EventArray

ROOT = Path(__file__).parents[1]

STEREO_COMMANDS = (
    ["info-events", "stereo"],
    ["decode", "stereo", "--out", "x.npz"],
    ["demo", "--bag", "stereo"],
    ["bench", "decode", "stereo"],
    ["bench", "windows", "stereo"],
)


@pytest.fixture
def stereo_bag(tmp_path):
    """Two cameras, of which the right one has twice as many packets."""
    store, kind = bag_typestore(), "event_camera_msgs/msg/EventPacket"
    header, time = store.types["std_msgs/msg/Header"], store.types["builtin_interfaces/msg/Time"]
    with Writer(tmp_path / "stereo", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for side, count in (("left", 2), ("right", 4)):
            connection = writer.add_connection(f"/{side}/events", kind, typestore=store)
            for k in range(count):
                t_ns = np.arange(1000) * 25_000 + k * 25_000_000
                events = EventArray(*np.ones((3, 1000), np.uint16)[:2], np.ones(1000, np.uint8), t_ns, 640, 480)
                head = header(time(1, k), "")
                message = store.types[kind](head, 480, 640, k, 0, "evt3", False, np.asarray(encode_evt3(events)))
                writer.write(connection, 10**18 + k, store.serialize_cdr(message, kind))
    return tmp_path / "stereo"


@pytest.fixture
def raw_file(tmp_path):
    """Ten thousand events in a Prophesee .raw file."""
    rng = np.random.default_rng(0)
    events = EventArray(
        rng.integers(0, 640, 10_000).astype(np.uint16),
        rng.integers(0, 480, 10_000).astype(np.uint16),
        rng.integers(0, 2, 10_000).astype(np.uint8),
        np.sort(rng.integers(1_000_000, 1_500_000, 10_000)) * 1000,
        640,
        480,
    )
    path = tmp_path / "recording.raw"
    header = b"% evt 3.0\n% format EVT3;height=480;width=640\n% end\n"
    path.write_bytes(header + np.asarray(encode_evt3(events)).tobytes())
    return path, events


def test_the_page_of_commands_is_what_the_parsers_say():
    written = (ROOT / "docs/commands.md").read_text()
    assert written == document(), "run: python -m eventspd_ros.cli.document > docs/commands.md"
    assert len(commands()) > 20 and set(NOTES) <= set(commands())


def test_every_argument_says_what_it_is():
    silent = [
        f"{name} {action.option_strings or action.dest}"
        for name, parser in commands().items()
        for action in parser._actions
        if not action.help
    ]
    assert silent == []


def test_commands_that_the_prose_shows_are_there():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    shown = [(page.name, line) for page in pages for line in shown_commands(page.read_text())]
    known, wrong = commands(), []
    for page, line in shown:
        words = line.split()
        name = " ".join(words[: 2 if words[0] == "bench" else 1])
        flags = {option for action in known[name]._actions for option in action.option_strings} if name in known else {}
        wrong += [(page, name)] if name not in known else []
        wrong += [(page, name, flag) for flag in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", line) if flag not in flags]
    assert wrong == [] and len(shown) > 100


def shown_commands(text: str) -> list[str]:
    """Commands between backticks, of a code block's line, or continued on the next line, without their first word."""
    lines = re.findall(r"^ *(?:\.venv/bin/)?eventspd ([a-z](?:\\\n|[^\n#`])*)", text, re.MULTILINE)
    spans = re.findall(r"`eventspd ([a-z][^`]*)`", text)
    return lines + spans


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out.strip() == __version__


def test_decode_to_arrays(raw_file, tmp_path, capsys):
    path, events = raw_file
    assert main(["decode", str(path), "--out", str(tmp_path / "out.npz")]) == 0
    assert "10,000 events" in capsys.readouterr().out
    with np.load(tmp_path / "out.npz") as arrays:
        for name in ("x", "y", "p", "t_ns"):
            np.testing.assert_array_equal(arrays[name], getattr(events, name))


def test_info_events(raw_file, capsys):
    path, events = raw_file
    assert main(["info-events", str(path), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["events"] == 10_000 and info["encoding"] == "evt3"
    assert info["sensor"] == "640x480"
    assert info["duration_s"] == pytest.approx((events.t_ns[-1] - events.t_ns[0]) / 1e9)
    assert main(["info-events", str(path)]) == 0
    assert "10,000" in capsys.readouterr().out


def test_one_of_two_cameras(stereo_bag, capsys, tmp_path):
    for topic, count in (("/left/events", 2000), ("/right/events", 4000)):
        chosen = [str(stereo_bag), "--topic", topic]
        assert main(["info-events", *chosen, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["events"] == count
        assert main(["decode", *chosen, "--out", str(tmp_path / "out.npz")]) == 0
        assert f"{count:,} events" in capsys.readouterr().out
        for what in ("decode", "windows"):
            assert main(["bench", what, *chosen, "--repetitions", "1", "--json"]) == 0
            report = json.loads(capsys.readouterr().out)
            assert (report["events"], report["topic"]) == (count, topic)


def test_a_size_that_an_old_header_leaves_out_can_be_given(raw_file, tmp_path, capsys):
    path, events = raw_file
    path.write_bytes(path.read_bytes().replace(b";height=480;width=640", b""))
    out = tmp_path / "out.npz"
    for command in (["decode", "--out", str(out)], ["info-events"], ["bench", "decode"], ["bench", "windows"]):
        assert main([*command, str(path)]) == 2
        assert "--geometry 640x480" in capsys.readouterr().err
        assert main([*command, str(path), "--geometry", "640x480"]) == 0
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["y"], events.y)


def test_bench_decode(raw_file, capsys):
    assert main(["bench", "decode", str(raw_file[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events_per_second"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["info-events", "/no/such.raw"], "/no/such.raw"),
        (["decode", "/no/such.raw", "--out", "x.npz"], "/no/such.raw"),
        (["convert-f3", "/no/such.pth", "--encoder", "hd_small", "--out", "x.safetensors"], "/no/such.pth"),
        (["demo", "--bag", "/no/such/bag"], "/no/such/bag"),
        *((command, "--topic: /left/events, /right/events") for command in STEREO_COMMANDS),
        *(([*command, "--topic", "/up"], "no events on topic '/up'; they are on /left") for command in STEREO_COMMANDS),
        (["info-events", "recording.raw", "--topic", "/up"], "'/up', but only bags have topics"),
        *(
            ([*command, "--support-filter", "-1"], "support_filter_ms -1.0: give 0 (off) to 1000 ms")
            for command in (["evaluate", "set"], ["replay", "bag"], ["bench", "windows", "recording.raw"])
        ),
    ],
)
def test_what_is_wrong_is_one_line(arguments, said, capsys, tmp_path, monkeypatch, stereo_bag, raw_file):
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "demo":
        pytest.importorskip("rclpy", reason="rclpy is not installed")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith(f"eventspd {arguments[0]}: ") and error.count("\n") == 1


def test_an_unknown_ending_is_named(raw_file, tmp_path, capsys):
    assert main(["decode", str(raw_file[0]), "--out", str(tmp_path / "out.csv")]) == 2
    assert "out.csv" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:7", "gpu", "meta", ""])
@pytest.mark.parametrize(
    "command",
    [
        ["replay", "bag"],
        ["evaluate", "set", "--weights", "eventspd_lite"],
        ["export", "--weights", "eventspd_lite", "--sensor", "64x48", "--out", "out"],
        ["bench", "model"],
        ["bench", "gpu"],
        ["bench", "node"],
    ],
    ids=" ".join,
)
def test_a_device_that_is_not_there_is_one_line(command, name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--device", name])
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and f"--device: device {name!r}: " in last and last.endswith("use auto, cpu or cuda:N")
