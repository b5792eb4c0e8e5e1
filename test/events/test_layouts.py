"""Public HDF5 layouts opened as recordings, against what was written; foreign and damaged ones are one line."""

import h5py
import numpy as np
import pytest
from reference import dataset_layouts as makers
from reference.packets import assert_same_events, event_array, joined

from eventspd_ros.events.files import layouts, open_events

SIZE = (makers.HEIGHT, makers.WIDTH)
CD = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")], align=True)


def expected(recording, width=makers.WIDTH, height=makers.HEIGHT):
    return event_array(recording.t_ns, recording.x, recording.y, recording.p, width, height)


@pytest.mark.parametrize(
    "kind, write, within, sensor_hw, topics",
    [
        ("m3ed", makers.write_m3ed, "", None, ("prophesee/left",)),
        ("mvsec", makers.write_mvsec, "", SIZE, ("davis/left/events",)),
        ("dsec", makers.write_dsec, "events/left/events.h5", SIZE, ("events",)),
        ("tartanair", makers.write_tartanair, "events/events.h5", None, ("events",)),
        ("simulated", makers.write_simulated, "", None, ("events",)),
    ],
)
def test_what_datasets_read_opens_as_a_recording(tmp_path, monkeypatch, kind, write, within, sensor_hw, topics):
    monkeypatch.setattr(layouts, "READ_EVENTS", 3000)  # so that there are several chunks
    recording = write(tmp_path)
    source = open_events(recording.path / within, sensor_hw=sensor_hw)
    assert (source.kind, source.topics, source.has_packets) == (kind, topics, False)
    chunks = list(source.chunks())
    assert len(chunks) == source.chunk_count == 7
    assert_same_events(joined(chunks), expected(recording, source.width, source.height))
    with h5py.File(recording.path / within, "r+"):
        pass  # no handle was left open


def test_events_that_were_never_stored_are_no_zeros(tmp_path):
    path = makers.write_m3ed(tmp_path).path
    with h5py.File(path, "r+") as file:
        for name in "xytp":
            del file[f"prophesee/left/{name}"]
            file.create_dataset(f"prophesee/left/{name}", (10**9,), "i8", chunks=(1000,))
    with pytest.raises(ValueError, match="prophesee/left/x: holds 0 of 1000000000 values; fetch it again"):
        open_events(path)


def test_order_is_kept_from_chunk_to_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "READ_EVENTS", 1000)
    path = makers.write_simulated(tmp_path).path
    for late_us, says in ((50_000, None), (150_000, r"events/t: time falls by 0\.15.* s after event 9999")):
        with h5py.File(path, "r+") as file:
            before_us = int(file["events/t"][9999])
            file["events/t"][10_000] = before_us - late_us
        if says is None:
            assert joined(list(open_events(path).chunks())).t_ns[10_000] == before_us * 1000
        else:
            with pytest.raises(ValueError, match=says):
                list(open_events(path).chunks())


def test_the_sensor_of_a_dataset_stands_in_where_a_file_names_none(tmp_path):
    for name, write, within, size in (
        ("m", makers.write_mvsec, "", (346, 260)),
        ("d", makers.write_dsec, "events/left/events.h5", (640, 480)),
    ):
        (tmp_path / name).mkdir()
        source = open_events(write(tmp_path / name).path / within)
        assert (source.width, source.height) == size


def test_the_other_camera_is_a_topic(tmp_path):
    path = makers.write_m3ed(tmp_path).path
    with h5py.File(path, "r+") as file:
        file.copy("prophesee/left", file["prophesee"], "right")
        file["prophesee/right/x"][:] = 7
    assert open_events(path).topics == ("prophesee/left", "prophesee/right")
    right = joined(list(open_events(path, "prophesee/right").chunks()))
    assert (right.x == 7).all()
    with pytest.raises(ValueError, match="no events on 'up'; they are on prophesee/left, prophesee/right"):
        open_events(path, "up")


def write_metavision(path, **options):
    x, y, p, t_us = makers.random_events()
    events = np.zeros(len(x), CD)
    events["x"], events["y"], events["p"], events["t"] = x, y, p, t_us
    with h5py.File(path, "w") as file:
        file.create_dataset("CD/events", data=events, chunks=(4096,), **options)
        file.attrs["version"], file.attrs["geometry"] = "1.0", f"{makers.WIDTH}x{makers.HEIGHT}"
    return event_array(t_us * 1000, x, y, p, makers.WIDTH, makers.HEIGHT)


def test_metavision(tmp_path):
    events = write_metavision(tmp_path / "a.hdf5")
    source = open_events(tmp_path / "a.hdf5")
    assert source.kind == "metavision"
    assert_same_events(joined(list(source.chunks())), events)
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        file.attrs["geometry"] = "wide"
    with pytest.raises(ValueError, match="attribute geometry: 'wide' is no size such as 1280x720"):
        open_events(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        del file.attrs["geometry"]
    with pytest.raises(ValueError, match="names no sensor size; give it, --geometry WIDTHxHEIGHT"):
        open_events(tmp_path / "a.hdf5")
    assert_same_events(joined(list(open_events(tmp_path / "a.hdf5", sensor_hw=SIZE).chunks())), events)


def test_a_codec_that_is_not_installed_is_named(tmp_path):
    """A chunk that ECF is said to have compressed, as Metavision writes all of them."""
    path = tmp_path / "ecf.hdf5"
    if h5py.h5z.filter_avail(0x8ECF):
        pytest.skip("the ECF plugin is installed")
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((100,))
        properties.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL)
        space, kind = h5py.h5s.create_simple((100,)), h5py.h5t.py_create(CD)
        dataset = h5py.h5d.create(file.create_group("CD").id, b"events", kind, space, properties)
        dataset.write_direct_chunk((0,), bytes(50), 0)
        file.attrs["geometry"] = "640x480"
    with pytest.raises(
        ValueError, match=r"filter 36559 .* not installed; build Prophesee's, .*HDF5_PLUGIN_PATH"
    ) as error:
        list(open_events(path).chunks())
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{path}: CD/events: ")


def test_v2e(tmp_path):
    x, y, p, t_us = makers.random_events()
    with h5py.File(tmp_path / "v2e.h5", "w") as file:
        rows = np.stack((t_us, x, y, p), axis=1).astype(np.uint32)
        file.create_dataset("events", data=rows, maxshape=(None, 4), compression="gzip")
    events = event_array(t_us * 1000, x, y, p, makers.WIDTH, makers.HEIGHT)
    source = open_events(tmp_path / "v2e.h5", sensor_hw=SIZE)
    assert source.kind == "v2e"
    assert_same_events(joined(list(source.chunks())), events)
    with pytest.raises(ValueError, match="names no sensor size"):
        open_events(tmp_path / "v2e.h5")
    with h5py.File(tmp_path / "v2e.h5", "r+") as file:
        file["frame"] = np.zeros((3, *SIZE), np.uint8)
    assert (open_events(tmp_path / "v2e.h5").height, open_events(tmp_path / "v2e.h5").width) == SIZE


@pytest.mark.parametrize(
    "key, change, text",
    [
        ("x", lambda v: v + 30, "prophesee/left/x: values 30 to 69 among events 0 to 19999; the sensor has 40x32 px"),
        ("y", lambda v: v + 10, "prophesee/left/y: values 10 to 41 among events"),
        ("p", lambda v: v + 5, "prophesee/left/p: values 5 to 6 among events .*; expected 0 and 1, or ±1"),
        ("t", lambda v: np.roll(v, 5000), "prophesee/left/t: "),
        ("t", lambda v: v + (1 << 60), "prophesee/left/t: a time of .* damaged"),
        ("p", lambda v: v[:-1], "columns of unequal length"),
        ("t", None, "of no HDF5 layout that is known .* it has prophesee"),
    ],
)
def test_what_is_wrong_in_a_column_is_one_line(tmp_path, key, change, text):
    path = makers.write_m3ed(tmp_path).path
    with h5py.File(path, "r+") as file:
        values = file[f"prophesee/left/{key}"][:]
        del file[f"prophesee/left/{key}"]
        if change is not None:
            file[f"prophesee/left/{key}"] = change(values.astype(np.int64))
    with pytest.raises(ValueError, match=text) as error:
        list(open_events(path).chunks())
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))


def test_microseconds_are_not_taken_for_nanoseconds(tmp_path):
    """Columns without t_offset are TartanAir's, in ns; the index of milliseconds tells where they are not."""
    path = makers.write_tartanair(tmp_path).path / "events/events.h5"
    with h5py.File(path, "r+") as file:
        file["events/t"][:] = file["events/t"][:] // 1000
    with pytest.raises(ValueError, match=r"ms_to_idx: .* it is not the index of events/t"):
        open_events(path)
    with h5py.File(path, "r+") as file:
        del file["ms_to_idx"]
    with pytest.raises(ValueError, match=r"of no HDF5 layout that is known .* it has events; convert it to text"):
        open_events(path)
