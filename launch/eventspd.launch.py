"""Starts the node on a camera's topics; with bag:=PATH also plays a recording at it, with rviz:=true also shows it.

ros2 launch eventspd_ros eventspd.launch.py events:=/event_camera/events keypoints:=/keypoints
ros2 launch eventspd_ros eventspd.launch.py motion:=odometry odometry:=/odometry/filtered camera_pose:=tf
ros2 launch eventspd_ros eventspd.launch.py namespace:=robot streams:="[left, right]"
ros2 launch eventspd_ros eventspd.launch.py params:=mine.yaml autostart:=false
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from eventspd_ros.ros.fastdds import PROFILE, VARIABLE, profile_in_use
from launch import LaunchContext, LaunchDescription

SHARE = FindPackageShare("eventspd_ros")
# The topics of one camera without a name; those of named streams are NAMESPACE/NAME/events and so on.
TOPICS = {
    "events": ("/event_camera/events", "topic of event_camera_msgs/EventPacket, or what events_type names"),
    "image": ("/camera/image_raw", "topic of sensor_msgs/Image, heard with input: image in place of events"),
    "camera_info": ("/event_camera/camera_info", "topic of sensor_msgs/CameraInfo"),
    "keypoints": ("/keypoints", "topic of eventspd_ros/KeypointArray, or what keypoints_layout names"),
    "odometry": ("/odometry", "topic of nav_msgs/Odometry, heard with motion:=odometry"),
    "pose": ("/pose", "topic of what pose_type names, heard with motion:=pose"),
}
# Parameters of the node that an argument sets, and an example; where it is empty, the parameter file's value holds.
OVERRIDES = {
    "autostart": (bool, "false"),
    "streams": (list[str], '"[left, right]"'),
    "motion": (str, "odometry"),
    "camera_pose": (str, '"0.1 0 0.2 -0.5 0.5 -0.5 0.5"'),
}
ARGUMENTS = TOPICS | {
    "params": (PathJoinSubstitution([SHARE, "config", "eventspd.yaml"]), "parameter file of the node"),
    "namespace": ("", "namespace of the node"),
    "autostart": ("", "false: wait for a lifecycle manager; empty: as the parameter file says"),
    "streams": ("", "names of the cameras, e.g. [left, right]; empty: as the parameter file says"),
    "motion": (
        "",
        "where poses come from: none, odometry, pose, tf, events; empty: as the parameter file says",
    ),
    "camera_pose": (
        "",
        "x y z (m) qx qy qz qw of the optical frame in the poses' frame, or tf; empty: as the parameter file says",
    ),
    "rviz": ("false", "also start RViz with the package's configuration"),
    "bag": (
        "",
        "rosbag2 to play at the node, which then takes the bag's time, once `events` has a subscriber; empty: none",
    ),
    "rate": ("1.0", "speed of the bag"),
}


def start_node(context: LaunchContext) -> list[Node]:
    """The node. Only here is known which arguments were given: a parameter of every other stays the file's."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    params = Path(value("params"))
    if not params.is_file():  # launch only warns, and the node would run on its defaults
        raise RuntimeError(f"params: {params} is no file; give the path of a parameter file, or leave params out")
    given = {}
    for name, (value_type, example) in OVERRIDES.items():
        if value(name):
            try:
                given[name] = ParameterValue(LaunchConfiguration(name), value_type=value_type).evaluate(context)
            except ValueError:
                raise RuntimeError(f"{name}: cannot read {value(name)!r}; write e.g. {name}:={example}") from None
    if value("bag"):
        given["use_sim_time"] = True
    node = Node(
        package="eventspd_ros",
        executable="eventspd_node",
        name="eventspd",
        namespace=value("namespace"),
        parameters=[params, given] if given else [params],
        remappings=[(topic, LaunchConfiguration(topic)) for topic in TOPICS],
        output="screen",
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    bag = LaunchConfiguration("bag")
    has_bag = PythonExpression(["'", bag, "' != ''"])
    player = Node(
        package="eventspd_ros",
        executable="bag_player",
        name="bag_player",
        parameters=[
            PathJoinSubstitution([SHARE, "config", "bag_player.yaml"]),
            {
                "bag": ParameterValue(bag, value_type=str),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                "wait_for": ParameterValue(["[", LaunchConfiguration("events"), "]"], value_type=list[str]),
            },
        ],
        condition=IfCondition(has_bag),
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "eventspd.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    stop = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[EmitEvent(event=Shutdown())]))
    # Without it Fast DDS loses large event packets; a profile that the user has chosen stays.
    profile = [] if profile_in_use() else [SetEnvironmentVariable(VARIABLE, PathJoinSubstitution([SHARE, PROFILE]))]
    # RViz first: where it is not installed, launch ends here, and no node is left behind.
    return LaunchDescription([*declared, *profile, rviz, OpaqueFunction(function=start_node), player, stop])
