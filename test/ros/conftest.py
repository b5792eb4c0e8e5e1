"""Tests that need rclpy and the built messages; each session in a DDS domain of its own."""

import os

import pytest

# Before rclpy reads it; 1…100 are free of the ports that operating systems hand out.
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("event_camera_msgs.msg", reason="event_camera_msgs is not built; run make")
pytest.importorskip("eventspd_ros.msg", reason="the messages of this package are not built; run make")


def pytest_collection_modifyitems(items):
    for item in items:
        if "test/ros/" in str(item.path):
            item.add_marker(pytest.mark.ros)


@pytest.fixture
def ros():
    """rclpy, initialised for one test."""
    rclpy.init(args=[])
    yield rclpy
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def simulated_bag(tmp_path_factory):
    """A second and a half of a small simulated camera, with keypoints and depth."""
    from eventspd_ros.simulation.bag import write_bag
    from eventspd_ros.simulation.camera import PinholeCamera
    from eventspd_ros.simulation.stream import SimulationConfig

    config = SimulationConfig(camera=PinholeCamera.centred(160, 120), duration_s=1.5, max_keypoints=40)
    return write_bag(tmp_path_factory.mktemp("simulated") / "bag", config)
