"""The model's tables of the sensors in use."""

import subprocess
import sys

import pytest

from eventspd_ros.model.presets import build_model
from eventspd_ros.ros.shared_model import SensorTables, warm_up


def tables_of(model) -> set[tuple[int, int]]:
    return set(model.encoder.grids._voxels)


def test_the_model_is_warmed_up_as_streams_use_it_and_no_table_is_left():
    model = build_model("minimal").eval()
    encode, seen = model.encode, []
    model.encode = lambda *given: (seen.append(tables_of(model)), encode(*given))[1]
    warm_up(model)
    assert seen and all(tables == {(64, 64)} for tables in seen) and tables_of(model) == set()


def test_a_sensor_has_a_table_while_a_stream_has_that_sensor():
    model = build_model("minimal").eval()
    tables = SensorTables(model)
    tables.prepare("left", 48, 64)
    tables.prepare("right", 48, 64)
    tables.prepare("left", 60, 80)
    assert tables_of(model) == {(48, 64), (60, 80)}
    tables.prepare("right", 60, 80)
    assert tables_of(model) == {(60, 80)}


@pytest.mark.parametrize(
    ("size", "said"), [((4, 4), "4x4 pixels: this model needs at least 32"), ((4096, 4096), "the packet is corrupt")]
)
def test_a_sensor_that_cannot_be_changes_nothing(size, said):
    """Packets that claim it would otherwise fail in the encoder, and ten failures are a fault of the whole node."""
    model = build_model("eventspd_lite").eval()
    tables = SensorTables(model)
    tables.prepare("", 48, 64)
    with pytest.raises(ValueError, match=said):
        tables.prepare("", *size)
    tables.prepare("other", 60, 80)
    assert tables_of(model) == {(48, 64), (60, 80)}


def test_nothing_of_motion_is_left_to_compile_for_the_first_request():
    code = (
        "import importlib, pkgutil, eventspd_ros.motion as room;"
        "from numba.core.dispatcher import Dispatcher;"
        "from eventspd_ros.ros.shared_model import warm_up_motion;"
        "warm_up_motion();"
        "names = [f'eventspd_ros.motion.{m.name}' for m in pkgutil.iter_modules(room.__path__)];"
        "modules = [importlib.import_module(name) for name in names];"
        "found = {f for m in modules for f in vars(m).values() if isinstance(f, Dispatcher)};"
        "called = {f for f in found if f.py_func.__name__ in NAMES};"
        "print(sorted(f.py_func.__name__ for f in called if not f.signatures), len(called))"
    )
    names = {"_add", "_advance", "_all", "_all_points", "_fit", "_mean_of_neighbours", "_read", "_triangulate"}
    names |= {"_all_off_path", "_fit_rate", "_solve_rate", "_all_flows", "_fit_twist"}
    done = subprocess.run([sys.executable, "-c", code.replace("NAMES", repr(names))], capture_output=True, text=True)
    assert done.stdout.split() == ["[]", str(len(names))], done.stdout + done.stderr
