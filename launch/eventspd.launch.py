"""Starts the node on a camera's topics; with bag:=PATH also plays a recording at it, with rviz:=true also shows it.

ros2 launch eventspd_ros eventspd.launch.py events:=/event_camera/events keypoints:=/keypoints
ros2 launch eventspd_ros eventspd.launch.py namespace:=robot streams:="[left, right]"
"""

from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from eventspd_ros.ros.fastdds import PROFILE, VARIABLE, profile_in_use
from launch import LaunchDescription

SHARE = FindPackageShare("eventspd_ros")
# The topics of one camera without a name; those of named streams are NAMESPACE/NAME/events and so on.
TOPICS = {
    "events": ("/event_camera/events", "topic of event_camera_msgs/EventPacket, or what events_type names"),
    "image": ("/camera/image_raw", "topic of sensor_msgs/Image, heard with input: image in place of events"),
    "camera_info": ("/event_camera/camera_info", "topic of sensor_msgs/CameraInfo"),
    "keypoints": ("/keypoints", "topic of eventspd_ros/KeypointArray, or what keypoints_layout names"),
}
ARGUMENTS = TOPICS | {
    "params": (PathJoinSubstitution([SHARE, "config", "eventspd.yaml"]), "parameter file of the node"),
    "namespace": ("", "namespace of the node"),
    "streams": ("['']", "names of the cameras, e.g. [left, right]; empty: one without a name"),
    "rviz": ("false", "also start RViz with the package's configuration"),
    "bag": (
        "",
        "rosbag2 to play at the node, which then takes the bag's time, once `events` has a subscriber; empty: none",
    ),
    "rate": ("1.0", "speed of the bag"),
}


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    bag, namespace = LaunchConfiguration("bag"), LaunchConfiguration("namespace")
    has_bag = PythonExpression(["'", bag, "' != ''"])
    node = Node(
        package="eventspd_ros",
        executable="eventspd_node",
        name="eventspd",
        namespace=namespace,
        parameters=[
            LaunchConfiguration("params"),
            {
                "streams": ParameterValue(LaunchConfiguration("streams"), value_type=list[str]),
                "use_sim_time": ParameterValue(has_bag, value_type=bool),
            },
        ],
        remappings=[(topic, LaunchConfiguration(topic)) for topic in TOPICS],
        output="screen",
    )
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
    return LaunchDescription([*declared, *profile, rviz, node, player, stop])
