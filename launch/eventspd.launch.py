"""Starts the node on a camera's topics; with bag:=PATH also plays a recording at it.

ros2 launch eventspd_ros eventspd.launch.py events:=/event_camera/events keypoints:=/keypoints
"""

from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = {
    "events": ("/event_camera/events", "topic of event_camera_msgs/EventPacket"),
    "camera_info": ("/event_camera/camera_info", "topic of sensor_msgs/CameraInfo"),
    "keypoints": ("/keypoints", "topic of eventspd_ros/KeypointArray"),
    "params": (
        PathJoinSubstitution([FindPackageShare("eventspd_ros"), "config", "eventspd.yaml"]),
        "parameter file of the node",
    ),
    "bag": ("", "rosbag2 to play at the node; empty: none"),
    "rate": ("1.0", "speed of the bag"),
}


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    bag = LaunchConfiguration("bag")
    node = Node(
        package="eventspd_ros",
        executable="eventspd_node",
        name="eventspd",
        parameters=[LaunchConfiguration("params")],
        remappings=[(topic, LaunchConfiguration(topic)) for topic in ("events", "camera_info", "keypoints")],
        output="screen",
    )
    player = Node(
        package="eventspd_ros",
        executable="bag_player",
        name="bag_player",
        parameters=[
            PathJoinSubstitution([FindPackageShare("eventspd_ros"), "config", "bag_player.yaml"]),
            {
                "bag": ParameterValue(bag, value_type=str),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                "wait_for": [LaunchConfiguration("events")],
            },
        ],
        condition=IfCondition(PythonExpression(["'", bag, "' != ''"])),
        output="screen",
    )
    stop = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[EmitEvent(event=Shutdown())]))
    return LaunchDescription([*arguments, node, player, stop])
