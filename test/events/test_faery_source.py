"""AEDAT4, DAT and ES through faery: bytes laid out by hand or by the camera maker's library; damaged ones."""

import base64
import os
import struct
import zlib

import numpy as np
import pytest
from reference.packets import assert_same_events, event_array, joined

from eventspd_ros.events.files import open_events

# Three events of a 640x480 sensor as iniVation's own dv-processing 2.0.4 writes them (MonoCameraWriter, LZ4).
TINY_AEDAT4 = (
    b"c-oCq!D`z;5FObf4WbD-<lsXv+fC>xwUlB)4z{r?JJb+2(3;c@g&?d=vc%pMtChjMwDdFjAvyO?@(b;yy>?bsf~%<110&5yZ{E{t"
    b"_w7FG^xnScc82wux8dxU0V)8{KYiVUG#u=0cna%S0a%z@nBU6q5Wh+Qjc`V0OvPM^CVg4+Xv-lO4Ix8DL@;GdDihromy(hw(AQ1s"
    b"X1$w1^KkDG&|8M4@IY%tZrHp@$8s7e78`v^^gKd>SSv2BXzS#>-f#`_pTkn|D=vb`K!(YLy+Qdr$3P0{<8u|fS6nl-BH?MGqeK@G"
    b"vKbRP{tt~A>9TmNc%%y!<|nb1QxXO`NZ$~d%GFk2?T0AOFF8|r(%#wdT_M5J*6^Zj^jx0X%>wP1e`2G1NiH;P9oD@fxq`V5f6dj8"
    b"R+^KE8bA8^-Lp|Nk&3B{QQ=Zuv(}|kxzyj+4L6*%oW=PcV%l_2X}7-{&-|{QWF|5H5?~FjW8)P;n8r6&yIR?E*08q0+Jb}6CG-`&"
    b"^$C0dxU;OxR~hFymOr0=%s7vSomY8IGq9bGY{EWT)y8fI_F!`xzAirRxV!=7C-9^6pndBv?k4^KzK!{z"
)


@pytest.fixture(scope="module")
def faery():
    return pytest.importorskip("faery", reason="faery is not installed; it is what reads these files")


def some_events(count=20_000, seed=0):
    rng = np.random.default_rng(seed)
    t_ns = np.sort(rng.integers(0, 900_000, count)) * 1000
    return event_array(t_ns, rng.integers(0, 64, count), rng.integers(0, 48, count), rng.integers(0, 2, count), 64, 48)


def dat_of(events, header="% Version 2\n% Width 64\n% Height 48\n", kind=12):
    """Prophesee's layout: per event uint32 µs, then x in 14 bits, y in 14, p in 4."""
    high = events.x.astype(np.uint32) | events.y.astype(np.uint32) << 14 | events.p.astype(np.uint32) << 28
    words = np.stack(((events.t_ns // 1000).astype(np.uint32), high), axis=1)
    return header.encode() + bytes([kind, 8]) + words.astype("<u4").tobytes()


def es_of(events):
    """Event Stream 2.0: bytes of 127 µs, then 7 bits of time and polarity, x, and y from the bottom, of 16 bits."""
    data, last_us = bytearray(b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", 64, 48)), 0
    for x, y, p, t_us in zip(events.x, events.y, events.p, events.t_ns // 1000, strict=True):
        steps, rest = divmod(int(t_us) - last_us, 127)
        data += b"\xff" * steps + struct.pack("<BHH", rest << 1 | int(p), x, 47 - y)
        last_us = int(t_us)
    return bytes(data)


def test_without_faery_one_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "none").mkdir()
    (tmp_path / "none/faery.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'none'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    (tmp_path / "a.es").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.es: \.es files need the package faery; pip install 'faery>=0\.7\.1'$"):
        open_events(tmp_path / "a.es")


def test_an_aedat4_of_the_cameras_maker(faery, tmp_path):
    (tmp_path / "a.aedat4").write_bytes(zlib.decompress(base64.b85decode(TINY_AEDAT4)))
    source = open_events(tmp_path / "a.aedat4")
    assert (source.kind, source.has_packets) == ("aedat4", False)
    t_ns = (1_700_000_000_000_000 + np.array([1, 1, 950])) * 1000
    events = event_array(t_ns, [3, 639, 0], [4, 0, 479], [1, 0, 1], 640, 480)
    assert_same_events(joined(list(source.chunks())), events)
    with pytest.raises(ValueError, match=r"has events on 1 tracks \(0\); name one as topic"):
        open_events(tmp_path / "a.aedat4", topic="5")


def test_a_dat(faery, tmp_path):
    events = some_events()
    (tmp_path / "a.dat").write_bytes(dat_of(events))
    assert_same_events(joined(list(open_events(tmp_path / "a.dat").chunks())), events)
    (tmp_path / "b.dat").write_bytes(dat_of(events, "% Version 2\n% Date 2017-10-31 11:27:54\n", 0))
    with pytest.raises(ValueError, match="names no sensor size; give it, --geometry WIDTHxHEIGHT"):
        open_events(tmp_path / "b.dat")
    assert_same_events(joined(list(open_events(tmp_path / "b.dat", sensor_hw=(48, 64)).chunks())), events)


def test_an_es(faery, tmp_path):
    events = some_events(3000)
    (tmp_path / "a.es").write_bytes(es_of(events))
    assert_same_events(joined(list(open_events(tmp_path / "a.es").chunks())), events)


def test_damage_is_one_line_after_the_events_before_it(faery, tmp_path):
    """Also where faery's process does not survive it: a header of 4 GiB, pixels outside, cut packets."""
    events, path = some_events(), tmp_path / "a.aedat4"
    rows = np.zeros(len(events), faery.EVENTS_DTYPE)
    rows["t"], rows["x"], rows["y"], rows["on"] = events.t_ns // 1000, events.x, events.y, events.p
    faery.events_stream_from_array(rows, (64, 48)).to_file(path)
    whole = path.read_bytes()
    for data, least in (
        (whole[: len(whole) // 2], 4096),
        (whole[:14] + b"\xff" * 4 + whole[18:], 0),
        (b"#!AER-DAT2.0\r\n" + whole[14:], 0),
    ):
        path.write_bytes(data)
        got = []
        with pytest.raises(ValueError, match="damaged") as error:
            got.extend(open_events(path).chunks())
            raise AssertionError("nothing was said")
        assert "\n" not in str(error.value) and str(error.value).startswith(f"{path}: ")
        assert least <= sum(map(len, got)) < len(events)
    (tmp_path / "a.dat").write_bytes(dat_of(events, "% Version 2\n% Width 30\n% Height 48\n"))
    with pytest.raises(ValueError, match=r"damaged, or of a kind that is not read \(x overflow"):
        list(open_events(tmp_path / "a.dat").chunks())
