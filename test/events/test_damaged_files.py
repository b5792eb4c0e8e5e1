"""Recordings with mishaps: events inside the sensor, or one line that names the file; never a crash or a hang."""

import h5py
import numpy as np
import pytest
from reference.mutations import mutated
from reference.packets import event_array

from eventspd_ros.events.codecs import ENCODERS
from eventspd_ros.events.files import open_events
from eventspd_ros.events.files.hdf5 import Hdf5Source, write_events_h5

COUNT, WIDTH, HEIGHT = 3000, 640, 480
ATTRIBUTES = {"format": "eventspd_events", "version": 1, "encoding": "evt3", "width": WIDTH, "height": HEIGHT}
HEADERS = {
    "evt3": b"% Date 2020-09-14 09:03:25\n% integrator_name Prophesee\n% system_ID 40\n% evt 3.0\n% end\n",
    "evt2": b"% evt 2.0\n% geometry 640x480\n",
    "evt21": b"% format EVT21;height=480;width=640;endianness=little\n% end\n",
}


def some_events():
    rng = np.random.default_rng(1)
    t_ns = np.sort(rng.integers(0, 50_000, COUNT)) * 1000
    return event_array(t_ns, *(rng.integers(0, end, COUNT) for end in (WIDTH, HEIGHT, 2)), WIDTH, HEIGHT)


def raw_recording(folder, encoding):
    path = folder / f"{encoding}.raw"
    path.write_bytes(HEADERS[encoding] + bytes(ENCODERS.get(encoding, ENCODERS["evt2"])(some_events())))
    return path


def h5_recording(folder, _=None):
    write_events_h5(folder / "whole.h5", [some_events()], "evt3")
    return folder / "whole.h5"


def read(path, most):
    """Events of a recording that may be damaged, read to where it says so; ≤ `most`."""
    count = 0
    try:
        for events in open_events(path).chunks():
            assert len(events.x) == len(events.y) == len(events.p) == len(events.t_ns)
            assert (events.x < events.width).all() and (events.y < events.height).all() and (events.p < 2).all()
            assert [c.dtype.str[1:] for c in (events.x, events.y, events.p, events.t_ns)] == ["u2", "u2", "u1", "i8"]
            count += len(events)
            assert count <= most
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    return count


def mishaps(path, seeds, most):
    whole = path.read_bytes()
    damaged = path.with_name(f"damaged{path.suffix}")
    for seed in seeds:
        damaged.write_bytes(mutated(whole, np.random.default_rng(seed)))
        read(damaged, most)


@pytest.mark.parametrize("encoding", HEADERS)
def test_a_raw_file_with_mishaps(tmp_path, encoding):
    path = raw_recording(tmp_path, encoding)
    # A word of EVT3 is up to 12 events.
    mishaps(path, range(100), most=12 * path.stat().st_size)


def test_an_hdf5_file_with_mishaps(tmp_path):
    mishaps(h5_recording(tmp_path), range(100), most=COUNT)


def test_every_flipped_byte_of_the_events_in_hdf5_is_found(tmp_path):
    path = h5_recording(tmp_path)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        # Text of any length lies where no checksum is: damaged, it keeps HDF5 reading for ever.
        kinds = (file.attrs.get_id(name).dtype for name in ("format", "encoding"))
        assert all(h5py.check_string_dtype(kind).length for kind in kinds)
        stored = [file[f"events/{name}"].id.get_chunk_info(0) for name in "xy"]
    for chunk in stored:
        for at in np.linspace(chunk.byte_offset, chunk.byte_offset + chunk.size - 1, 20).astype(int):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(ValueError, match="damaged"):
                list(open_events(path).chunks())


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("x", [0, 640], "events/x: values 0 to 640 .* the sensor has 640x480 px"),
        ("y", [-1, 0], "events/y: values -1 to 0 .* the sensor has 640x480 px"),
        ("p", [2, 0], "events/p: values 0 to 2 .* expected 0 and 1, or ±1"),
        ("t_ns", [0, 1 << 62], "events/t_ns: a time of 4.6.*; the file is damaged"),
        ("x", [0.5, 1.0], "events/x: 0.5 at event 0; expected whole numbers"),
        ("x", [0], "columns of unequal length"),
    ],
)
def test_columns_of_others_are_checked(tmp_path, name, values, said):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(ATTRIBUTES)
        for column in ("x", "y", "p", "t_ns"):
            file[f"events/{column}"] = values if column == name else np.zeros(2, int)
    with pytest.raises(ValueError, match=said) as error:
        list(open_events(path).chunks())
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_events_that_were_never_written_are_none(tmp_path):
    """HDF5 shows zeros for them, without end."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update(ATTRIBUTES)
        for column, kind in (("x", "u2"), ("y", "u2"), ("p", "u1"), ("t_ns", "i8")):
            file.create_dataset(f"events/{column}", (1 << 40,), kind, chunks=(1 << 16,))
    with pytest.raises(ValueError, match="events/x: holds 0 of 1099511627776 values"):
        Hdf5Source(tmp_path / "a.h5")
