"""The launch file through the real launch system, where it is installed."""

import importlib.util
import time
from pathlib import Path

import pytest

launch = pytest.importorskip("launch", reason="launch is not installed (it comes with a ROS 2 from apt)")
pytest.importorskip("launch_ros", reason="launch_ros is not installed (it comes with a ROS 2 from apt)")

FILE = Path(__file__).parents[2] / "launch/eventspd.launch.py"


def description():
    spec = importlib.util.spec_from_file_location("eventspd_launch", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def test_every_argument_is_described_and_has_a_default():
    arguments = [e for e in description().entities if isinstance(e, launch.actions.DeclareLaunchArgument)]
    assert {a.name for a in arguments} == {"events", "camera_info", "keypoints", "params", "bag", "rate"}
    assert all(a.description and a.default_value is not None for a in arguments)


def test_the_node_starts_and_exits_cleanly():
    service = launch.LaunchService(noninteractive=True)
    codes = []
    on_exit = launch.event_handlers.OnProcessExit(on_exit=lambda event, context: codes.append(event.returncode))
    stop = launch.actions.TimerAction(period=6.0, actions=[launch.actions.EmitEvent(event=launch.events.Shutdown())])
    service.include_launch_description(
        launch.LaunchDescription([*description().entities, launch.actions.RegisterEventHandler(on_exit), stop])
    )
    started = time.monotonic()
    assert service.run() == 0
    assert codes == [0] and time.monotonic() - started > 5.0
