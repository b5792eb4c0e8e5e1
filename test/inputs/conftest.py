"""Tests of this room speak of real messages: they need the message packages."""

import pytest

pytest.importorskip("sensor_msgs.msg", reason="sensor_msgs is not installed")
pytest.importorskip("eventspd_ros.msg", reason="the messages of this package are not built; run make")


def pytest_collection_modifyitems(items):
    for item in items:
        if "test/inputs/" in str(item.path):
            item.add_marker(pytest.mark.ros)
