"""The model's tables of the sensors in use."""

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
