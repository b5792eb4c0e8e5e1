"""The launch file through the real launch system, where it is installed."""

import importlib.util
import os
from pathlib import Path
from unittest.mock import patch

import pytest

launch = pytest.importorskip("launch", reason="launch is not installed (it comes with a ROS 2 from apt)")
pytest.importorskip("launch_ros", reason="launch_ros is not installed (it comes with a ROS 2 from apt)")

from launch_ros.actions import LifecycleNode  # noqa: E402
from launch_ros.event_handlers import OnStateTransition  # noqa: E402
from launch_ros.events.lifecycle import ChangeState  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402

FILE = Path(__file__).parents[2] / "launch/eventspd.launch.py"
ARGUMENTS = {"events", "image", "camera_info", "keypoints", "odometry", "pose"} | {
    "motion",
    "camera_pose",
    "params",
    "namespace",
    "autostart",
    "streams",
    "rviz",
    "bag",
    "rate",
}


@pytest.fixture(autouse=True)
def own_environment():
    """What a launch file sets, launch sets in the environment of its own process, which is this one."""
    with patch.dict(os.environ):
        yield


def description():
    spec = importlib.util.spec_from_file_location("eventspd_launch", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def run(arguments: dict[str, str], until_said: str) -> tuple[str, list[int]]:
    """The launch file with arguments, until a process says that: as run_all."""
    given = [launch.actions.SetLaunchConfiguration(name, value) for name, value in arguments.items()]
    return run_all([*given, *description().entities], until_said)


def run_all(entities: list, until_said: str = "never said") -> tuple[str, list[int]]:
    """Launch, until a process says that or a shutdown: (all that was said, the processes' exit statuses)."""
    said, codes = [], []

    def on_output(event):
        said.append(event.text.decode())
        if until_said in "".join(said):
            return launch.actions.EmitEvent(event=launch.events.Shutdown())

    handlers = [
        launch.event_handlers.OnProcessIO(on_stdout=on_output, on_stderr=on_output),
        launch.event_handlers.OnProcessExit(on_exit=lambda event, context: codes.append(event.returncode)),
    ]
    give_up = launch.actions.TimerAction(
        period=180.0, actions=[launch.actions.EmitEvent(event=launch.events.Shutdown())]
    )
    service = launch.LaunchService(noninteractive=True)
    service.include_launch_description(
        launch.LaunchDescription(
            [
                # A busy machine takes longer than launch's 5 s to end a process.
                launch.actions.SetLaunchConfiguration("sigterm_timeout", "60"),
                *[launch.actions.RegisterEventHandler(handler) for handler in handlers],
                *entities,
                give_up,
            ]
        )
    )
    assert service.run() == 0
    return "".join(said), codes


def test_every_argument_is_described_and_has_a_default():
    arguments = [e for e in description().entities if isinstance(e, launch.actions.DeclareLaunchArgument)]
    assert {a.name for a in arguments} == ARGUMENTS
    assert all(a.description and a.default_value is not None for a in arguments)


def test_the_node_starts_on_the_cameras_topics_and_exits_cleanly():
    said, codes = run({}, "listening to")
    assert "listening to /event_camera/events, /event_camera/camera_info, /keypoints" in said and codes == [0]


def test_streams_and_namespace_reach_the_node():
    said, codes = run({"namespace": "robot", "streams": "[left, right]"}, "/robot/right/events")
    assert "/robot/left/events" in said and "/robot/eventspd/left/keypoint_depths" in said and codes == [0]


def test_motion_reaches_the_node():
    motion = {"motion": "odometry", "odometry": "/filtered", "camera_pose": "0.1 0 0.2 -0.5 0.5 -0.5 0.5"}
    said, codes = run(motion, "listening to")
    assert "/keypoints, /filtered; answers on" in said and codes == [0]


def test_a_parameter_file_reaches_the_node(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    preset: no_such_preset\n    weights: ''\n")
    said, codes = run({"params": str(params)}, "configure failed")
    assert "no_such_preset" in said and codes == [0]


def test_what_no_argument_sets_stays_as_the_parameter_file_says(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    autostart: true\n    streams: [up, down]\n    weights: ''\n")
    said, codes = run({"params": str(params)}, "/down/events")
    assert "/up/events" in said and codes == [0]


@pytest.mark.parametrize("arguments", [{"params": "/no/such.yaml"}, {"streams": "left"}, {"autostart": "maybe"}])
def test_arguments_that_cannot_be_read_end_the_launch_in_a_line(arguments, caplog):
    service = launch.LaunchService(noninteractive=True)
    service.include_launch_description(
        launch.LaunchDescription(
            [launch.actions.SetLaunchConfiguration(*next(iter(arguments.items()))), *description().entities]
        )
    )
    [(name, value)] = arguments.items()
    assert service.run() == 1
    assert any(f"{name}: " in r.getMessage() and value in r.getMessage() for r in caplog.records)


WALK = (
    ("configuring", "inactive", "ACTIVATE"),
    ("activating", "active", "DEACTIVATE"),
    ("deactivating", "inactive", "CLEANUP"),
    ("cleaningup", "unconfigured", "UNCONFIGURED_SHUTDOWN"),
)


def test_events_of_launch_walk_the_node_through_its_states():
    """ChangeState and OnStateTransition of launch_ros, as a robot's launch file uses them."""
    reached = []
    node = LifecycleNode(
        package="eventspd_ros",
        executable="eventspd_node",
        name="eventspd",
        namespace="robot",
        parameters=[{"autostart": False, "weights": ""}],
    )

    def change(transition: str):
        wanted = getattr(Transition, f"TRANSITION_{transition}")
        event = ChangeState(lifecycle_node_matcher=launch.events.matches_action(node), transition_id=wanted)
        return launch.actions.EmitEvent(event=event)

    def then(start: str, goal: str, transition: str):
        seen = launch.actions.OpaqueFunction(function=lambda context: reached.append(goal))
        handler = OnStateTransition(
            target_lifecycle_node=node, start_state=start, goal_state=goal, entities=[seen, change(transition)]
        )
        return launch.actions.RegisterEventHandler(handler)

    end = launch.actions.EmitEvent(event=launch.events.Shutdown())
    ended = launch.actions.RegisterEventHandler(launch.event_handlers.OnProcessExit(target_action=node, on_exit=[end]))
    _, codes = run_all([*[then(*step) for step in WALK], ended, node, change("CONFIGURE")])
    assert reached == [goal for _, goal, _ in WALK] and codes == [0]


def test_without_rviz_nothing_is_started():
    if has_rviz():
        pytest.skip("RViz is installed: it would open a window")
    service = launch.LaunchService(noninteractive=True)
    service.include_launch_description(
        launch.LaunchDescription([launch.actions.SetLaunchConfiguration("rviz", "true"), *description().entities])
    )
    started = []
    service.context.register_event_handler(
        launch.event_handlers.OnProcessStart(on_start=lambda event, context: started.append(event.process_name))
    )
    assert service.run() == 1 and started == []


def has_rviz() -> bool:
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        return bool(get_package_prefix("rviz2"))
    except PackageNotFoundError:
        return False


def test_a_bag_is_played_and_then_all_ends(simulated_bag):
    said, codes = run({"bag": str(simulated_bag)}, "never said")
    assert "messages played" in said and codes == [0, 0]
    assert int(said.split("requests_answered ")[1].split()[0]) > 10
