"""Prophesee .raw files: headers of every age, and what is no header."""

import re

import numpy as np
import pytest
from reference.encoders import encode_evt21
from reference.packets import assert_same_events, event_array, joined

from eventspd_ros.events.codecs import ENCODERS
from eventspd_ros.events.files import open_events
from eventspd_ros.events.files.hdf5 import write_events_h5
from eventspd_ros.events.files.raw import MAX_HEADER_BYTES
from eventspd_ros.events.files.summary import summarise_events

OLD = "% Date 2020-09-14 09:03:25\n% integrator_name Prophesee\n% plugin_name {}\n% system_ID {}\n"


def some_events(count, start_us=0, width=640, height=480):
    rng = np.random.default_rng(count)
    t_ns = (start_us + np.sort(rng.integers(0, 50_000, count))) * 1000
    x, y, p = (rng.integers(0, end, count) for end in (width, height, 2))
    return event_array(t_ns, x, y, p, width, height)


@pytest.mark.parametrize(
    "encoding, header",
    [
        ("evt3", "% camera_integrator_name Prophesee\n% format EVT3;height=480;width=640\n% end\n"),
        ("evt3", "% Date 2020-01-01 12:00:00\n% evt 3.0\n% geometry 640x480\n"),
        ("evt2", "% evt 2.0\n% geometry 640x480\n% end\n"),
        ("evt2", "% format EVT2;width=640;height=480\n% end\n"),
        ("evt3", "% evt 3.0\n% Height 480\n% Width 640\n"),
        ("evt3", "% format EVT3; height=480; width=640\n% end\n"),
        ("evt3", "% format EVT3\n%\n% geometry 640x480\n%\n"),
        ("evt3", "% evt 3.0\r\n%\r\n% geometry 640 x 480\r\n% end\r\n"),
    ],
)
def test_prophesee_files_of_either_header(tmp_path, encoding, header):
    parts = [some_events(30_000, start_us=50_000 * k) for k in range(4)]
    path = tmp_path / "recording.raw"
    payload = np.concatenate([ENCODERS[encoding](part) for part in parts])
    path.write_bytes(header.encode() + payload.tobytes())
    source = open_events(str(path))
    assert (source.kind, source.encoding, source.width, source.height) == ("raw", encoding, 640, 480)
    assert len(list(source.packets())) == source.chunk_count > 3
    assert_same_events(joined(list(source.chunks())), joined(parts))
    # Cut within a word: all whole words are decoded.
    path.write_bytes(header.encode() + payload.tobytes()[:-1])
    assert summarise_events(path)["events"] == 4 * 30_000 - 1


@pytest.mark.parametrize(
    "plugin, system, evt, encoding, size",
    [
        ("hal_plugin_gen3_fx3", 21, "% evt 2.0\n", "evt2", (640, 480)),
        ("hal_plugin_gen3_fx3", 21, "", "evt2", (640, 480)),
        ("hal_plugin_gen31_evk3", 40, "", "evt3", (640, 480)),
        ("hal_plugin_gen41_evk2", 39, "% evt 3.0\n", "evt3", (1280, 720)),
        ("hal_plugin_gen41_evk3", 48, "% evt 3.0\n", "evt3", (1280, 720)),
        ("hal_plugin_imx636_evk3", 49, "% evt 2.1\n", "evt21_legacy", (1280, 720)),
    ],
)
def test_a_known_system_tells_what_its_old_header_leaves_out(tmp_path, plugin, system, evt, encoding, size):
    path = tmp_path / "old.raw"
    events = some_events(1000, width=size[0], height=size[1])
    encode = ENCODERS.get(encoding, lambda events: encode_evt21(events, True))
    path.write_bytes((OLD.format(plugin, system) + evt).encode() + bytes(encode(events)))
    source = open_events(path)
    assert (source.encoding, (source.width, source.height)) == (encoding, size)
    assert_same_events(joined(list(source.chunks())), events)
    # A header that says more is believed before the table, and so is who gives a size.
    assert open_events(path, sensor_hw=(240, 320)).width == 320
    path.write_bytes((OLD.format(plugin, system) + evt + "% geometry 320x240\n").encode())
    assert open_events(path).width == 320


def test_the_systems_of_others_are_not_in_the_table(tmp_path):
    path = tmp_path / "other.raw"
    path.write_bytes(OLD.format("plugin", 21).replace("Prophesee", "Someone").encode() + b"% evt 2.1\n")
    with pytest.raises(ValueError, match="no sensor size, and system_ID 21 is not known; give it"):
        open_events(path)
    assert open_events(path, sensor_hw=(480, 640)).encoding == "evt21"


def test_who_says_another_size_than_the_recording_is_told(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n% geometry 640x480\n% end\n")
    write_events_h5(tmp_path / "a.h5", [some_events(5)])
    for name in ("a.raw", "a.h5"):
        assert open_events(tmp_path / name, sensor_hw=(480, 640)).width == 640
        with pytest.raises(ValueError, match="its sensor has 640x480 px, not 1280x720; leave that out"):
            open_events(tmp_path / name, sensor_hw=(720, 1280))


def test_bad_prophesee_headers_are_named(tmp_path):
    path = tmp_path / "a.raw"
    for header, text in (
        ("", "is empty; give a Prophesee .raw recording"),
        ("no header", "begins with no line such as '% evt 3.0'"),
        ("% \x01\n% evt 3.0\n", "begins with no line such as '% evt 3.0'"),
        ("% evt 3.0", "begins with no line such as '% evt 3.0'"),
        ("% format EVT4;height=1;width=1\n", "encoding 'EVT4' in the header is not known; known are EVT2, EVT21, EVT3"),
        ("% format libcaer;height=1;width=1\n", "encoding 'libcaer' in the header is not known"),
        ("% geometry 1x1\n", "the header names no event encoding; put a line before it"),
        ("% system_ID 99\n", "names no event encoding, and system_ID 99 is not known; put a line before it"),
        ("% evt 3.0\n% end\n", "names no sensor size; give it, e.g. --geometry 640x480"),
        ("% evt 3.0\n% system_ID \u00b2\n% end\n", "names no sensor size, and system_ID"),
        ("% evt 3.0\n% geometry wide\n% end\n", "names no sensor size"),
        ("% evt 3.0\n% geometry 0x480\n% end\n", "a sensor of 0x480 px; a side has 1 to 2048"),
        ("% evt 3.0\n% geometry 640x2049\n% end\n", "a sensor of 640x2049 px"),
        ("% evt 3.0\n" + f"% {'x' * 1000} 1\n" * 1100, f"a header of over {MAX_HEADER_BYTES} bytes"),
    ):
        path.write_bytes(header.encode("latin-1"))
        with pytest.raises(ValueError, match=re.escape(text)) as error:
            open_events(path)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
