"""Text and .npz recordings against what was written; what is no event is named by its line or array."""

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.packets import assert_same_events, event_array, joined

from eventspd_ros.events.files import columns, open_events
from eventspd_ros.events.files.export import decode_to

HW = (48, 64)


def some_events(count=2000, seed=0, start_us=0):
    rng = np.random.default_rng(seed)
    t_ns = (start_us + np.sort(rng.integers(0, 900_000, count))) * 1000
    return event_array(t_ns, rng.integers(0, 64, count), rng.integers(0, 48, count), rng.integers(0, 2, count), 64, 48)


def text_of(events, seconds, signed=False):
    p = events.p.astype(int) * 2 - 1 if signed else events.p
    rows = zip(events.t_ns // 1000, events.x, events.y, p, strict=True)
    return "".join(f"{t / 1e6:.9f} {x} {y} {p}\n" if seconds else f"{t} {x} {y} {p}\n" for t, x, y, p in rows)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 60),
    seed=st.integers(0, 100),
    start_us=st.sampled_from([0, 1_506_117_894_000_000]),
    seconds=st.booleans(),
    signed=st.booleans(),
    block=st.sampled_from([60, 101, 1 << 22]),
    ending=st.sampled_from(["", "# end\n", "\n\n"]),
)
def test_text_comes_back(tmp_path_factory, count, seed, start_us, seconds, signed, block, ending):
    events = some_events(count, seed, start_us)
    path = tmp_path_factory.mktemp("text") / "events.txt"
    path.write_text("# t x y p\n" + text_of(events, seconds, signed) + ending)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "READ_BYTES", block)
        found = list(open_events(path, sensor_hw=HW).chunks())
        assert_same_events(joined([*found, some_events(0)]), events)
        path.write_text(path.read_text().rstrip("\n").replace("\n", "\r\n"))  # the last line has no end
        assert_same_events(joined([*open_events(path, sensor_hw=HW).chunks(), some_events(0)]), events)


@pytest.mark.parametrize(
    "text, says",
    [
        ("a b c d\n", "line 1: 'a b c d' is no event; expected four numbers, t x y p"),
        ("0.5 1 2\n", "line 1: '0.5 1 2' is no event"),
        ("0.1 1 2 1\n# more\n0.2 1 2 1 9\n", "line 3: '0.2 1 2 1 9' is no event"),
        ("0.1 1 2 1\n0.2 1 x 1\n", "line 2: '0.2 1 x 1' is no event"),
        ("0.1 1 2 1\n0.2 64 2 1\n", "x: values 1 to 64 among events 0 to 1; the sensor has 64x48 px"),
        ("0.1 1 2 1\n0.2 1 -1 1\n", "y: values -1 to 2"),
        ("0.1 1 2 2\n", "p: values 2 to 2 .*; expected 0 and 1, or ±1"),
        ("0.1 1.5 2 1\n", "x: 1.5 at event 0; expected whole numbers"),
        ("0.1 nan 2 1\n", "x: values nan to nan"),
        ("nan.e 1 2 1\n", "line 1: 'nan.e 1 2 1' is no event"),
        ("0.5 1 2 1\nnan 1 2 1\n", "t: a time of nan"),
        ("0.5 1 2 1\n0.3 1 2 1\n", "t: time falls by 0.200 s after event 0; events must be in order of time"),
        ("1500000000000000000 1 2 1\n", "t: a time of 1.5e.18, in units of 1000 ns"),
        ("x" * 5000, "is no event|no end of line"),
    ],
)
def test_what_is_no_text_of_events_is_one_line(tmp_path, text, says):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        list(open_events(path, sensor_hw=HW).chunks())
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path)) and len(str(error.value)) < 400
    with pytest.raises(ValueError, match="names no sensor size; give it, --geometry WIDTHxHEIGHT"):
        open_events(path)


def test_pieces_follow_one_another(tmp_path, monkeypatch):
    """A late event and a fall at the beginning of a piece, and the number of a line in a later one."""
    monkeypatch.setattr(columns, "READ_BYTES", 30)  # three lines
    path = tmp_path / "a.txt"
    path.write_text("0.20 1 2 1\n0.30 1 2 1\n" * 3 + "0.25 1 2 1\n")
    times_ms = [part.t_ns // 1_000_000 for part in open_events(path, sensor_hw=HW).chunks()]
    assert np.concatenate(times_ms).tolist() == [200, 300, 300, 300, 300, 300, 300]
    path.write_text("0.20 1 2 1\n" * 6 + "0.05 1 2 1\n")
    with pytest.raises(ValueError, match=r"time falls by 0\.150 s after event 5"):
        list(open_events(path, sensor_hw=HW).chunks())
    path.write_text("0.20 1 2 1\n" * 6 + "0.20 1 ? 1\n")
    with pytest.raises(ValueError, match=r"line 7: '0\.20 1 \? 1' is no event"):
        list(open_events(path, sensor_hw=HW).chunks())


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "READ_BYTES", 1000)
    (tmp_path / "a.txt").write_bytes(b"0.1 1 2 1\n" + b"7" * 5000)
    with pytest.raises(ValueError, match="no end of line in 1000 bytes"):
        list(open_events(tmp_path / "a.txt", sensor_hw=HW).chunks())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("time", ["t_ns", "t_us", "t", "t in s"])
def test_an_npz_comes_back_in_pieces(tmp_path, monkeypatch, save, time):
    monkeypatch.setattr(columns, "READ_EVENTS", 700)
    events = some_events()
    t_us = events.t_ns // 1000
    times = {"t_ns": events.t_ns, "t_us": t_us.astype(np.uint32), "t": t_us, "t in s": t_us / 1e6}[time]
    save(tmp_path / "a.npz", x=events.x, y=events.y.astype(np.int64), p=events.p != 0, **{time.split()[0]: times})
    recording = open_events(tmp_path / "a.npz", sensor_hw=HW)
    chunks = list(recording.chunks())
    assert (recording.kind, recording.chunk_count, len(chunks)) == ("npz", 3, 3)
    assert_same_events(joined(chunks), events)
    with pytest.raises(ValueError, match="names no sensor size"):
        open_events(tmp_path / "a.npz")


def test_what_decode_writes_is_read(tmp_path):
    events = some_events()
    (tmp_path / "a.txt").write_text(text_of(events, True))
    np.savez(tmp_path / "a.npz", x=events.x, y=events.y, p=events.p, t_ns=events.t_ns, width=64, height=48)
    assert decode_to(tmp_path / "a.npz", tmp_path / "b.npz") == len(events)
    assert_same_events(joined(list(open_events(tmp_path / "b.npz").chunks())), events)


def test_a_broken_npz_is_one_line(tmp_path):
    path, events = tmp_path / "a.npz", some_events()
    good = {"x": events.x, "y": events.y, "p": events.p, "t_us": events.t_ns // 1000}
    for change, says in (
        ({"x": None}, "has p, t_us, y; expected arrays x, y, p and t_ns, t_us or t"),
        ({"y": events.y[:5]}, "columns of unequal length"),
        ({"p": events.p[:, None]}, r"p: uint8 of shape \(2000, 1\); expected numbers of shape \(N,\)"),
        ({"x": np.array(["a"] * 2000)}, "x: <U1 of shape"),
        ({"x": np.array([{}] * 2000)}, "x: object of shape"),  # a pickle is not opened
        ({"width": 0, "height": 3}, "width, height: a sensor of 0x3 px; each side must be 1 to"),
    ):
        np.savez(path, **{name: values for name, values in (good | change).items() if values is not None})
        with pytest.raises(ValueError, match=says) as error:
            open_events(path, sensor_hw=HW)
        assert "\n" not in str(error.value) and str(error.value).startswith(str(path))
    np.savez(path, **good)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "cut.npz", "w") as cut:
        for name in archive.namelist():
            cut.writestr(name, archive.read(name)[: 300 if name == "y.npy" else None])
    with pytest.raises(ValueError, match="y: ends before its 2000 values"):
        list(open_events(tmp_path / "cut.npz", sensor_hw=HW).chunks())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"not a readable \.npz file, or cut off"):
        open_events(path, sensor_hw=HW)


def test_flipped_bytes_are_one_line_or_events_of_the_sensor(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "a.npz"
    events = some_events(300)
    outcomes = set()
    for number in range(150):
        save = (np.savez, np.savez_compressed)[number % 2]
        save(path, x=events.x, y=events.y, p=events.p, t_ns=events.t_ns, width=64, height=48)
        data = bytearray(path.read_bytes())
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            outcomes.add(sum(map(len, open_events(path).chunks())))
        except ValueError as error:
            assert "\n" not in str(error) and str(error).startswith(str(path))
            outcomes.add("refused")
    assert outcomes >= {"refused", 300}
