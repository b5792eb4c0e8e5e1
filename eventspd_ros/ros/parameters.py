"""Node parameters: one table from which they are declared, checked, read and documented.

python -m eventspd_ros.ros.parameters > docs/parameters.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

from eventspd_ros.events.messages import EVENT_TYPES
from eventspd_ros.events.support import MAX_MS
from eventspd_ros.inputs.camera_model import COORDINATES
from eventspd_ros.inputs.keypoints import LAYOUTS
from eventspd_ros.inputs.odometry import MESSAGES
from eventspd_ros.model.acceleration import Acceleration
from eventspd_ros.motion.depth_from_motion import PoseErrors
from eventspd_ros.predictor import QueryMode
from eventspd_ros.resources import DEFAULT_WEIGHTS

MAX_SENSOR_SIDE = 4096  # px

TYPES = {bool: "bool", int: "int", float: "double", str: "string", list: "string[]"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. The type is the default's; bounds hold both ends. live: may change at any time, otherwise only
    while the node is unconfigured. per_stream: each named stream has its own, <stream>.<name>."""

    name: str
    default: bool | int | float | str | list[str]
    description: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    per_stream: bool = False

    @property
    def wanted(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        within = f" in {self.bounds[0]:g} … {self.bounds[1]:g}" if self.bounds else ""
        return f"{TYPES[type(self.default)]}{within}{' ' + self.unit if self.unit else ''}"

    def descriptor(self, read_only: bool) -> ParameterDescriptor:
        descriptor = ParameterDescriptor(description=self.description, read_only=read_only)
        descriptor.additional_constraints = self.wanted
        if self.bounds is not None and isinstance(self.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=self.bounds[0], to_value=self.bounds[1])]
        elif self.bounds is not None:
            low, high = (int(b) for b in self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor


_SENSOR = "with sensor_height prepares the model at start, not at the first packet; 0: unknown"
_AGE = (
    "between a request's stamp and the end of the window that answers it; beyond it: STALE_CACHE. Packets that waited "
    "longer are dropped"
)
_WEIGHTS = "checkpoint: a path, or the name of one that comes with this package; empty: random weights of the preset"
_COORDINATES = "what the keypoints are: pixels of the raw image, of camera_info's rectified one, or rays (x, y, 1)"
_ACCELERATION = (
    "eager; compiled: torch.compile, on CUDA in bfloat16 with CUDA graphs and kernels; openvino: on a CPU, float32; "
    "eager where these fail; auto: compiled on CUDA, openvino on a CPU that has it"
)
BY_EVENTS = "events"  # of motion
_MOTION = (
    "where the camera's poses come from: the topic odometry (nav_msgs/Odometry), the topic pose (pose_type), tf (needs "
    "tf2_ros), or nowhere; events: from nowhere, and near and far from how the events move, at the network's scale"
)
_CAMERA_POSE = (
    "x y z (m) qx qy qz qw of the camera's optical frame in the frame whose poses come; tf: look it up from the child "
    "frame of the odometry (needs tf2_ros); empty: the poses are the camera's"
)
_ROTATION_DRIFT = (
    "error of the poses' rotation that a second of motion adds, one standard deviation; what messages declare counts "
    "where it is larger"
)
_WAIT = (
    "how long a request waits for its window (covering, exact), else the newest answers; and for a pose that reaches "
    "its stamp, else motion is extrapolated"
)
_SUPPORT = (
    "events are left out unless one of the eight pixels around theirs fired that shortly before, so that a sensor's "
    "noise reaches no window (motion has all events); 0: all pass. Measure first what it does: docs/evaluation.md"
)
_MODES = (
    "which window answers a request: of those there are the one that ends nearest to its stamp, the first that ends "
    "after it, one that ends at it"
)

NODE_PARAMETERS = (
    Parameter("autostart", True, "configure and activate at start, without a lifecycle manager"),
    Parameter("weights", DEFAULT_WEIGHTS, _WEIGHTS),
    Parameter("preset", "minimal", "model to build when weights is empty; it is untrained then"),
    Parameter("device", "auto", "torch device: auto (CUDA where there is one), cpu, cuda or cuda:N"),
    Parameter("acceleration", "auto", _ACCELERATION, choices=tuple(how.value for how in Acceleration)),
    Parameter("streams", [""], "names of the cameras, each with its own topics; empty: one without a name"),
    Parameter("input", "events", "what windows are made of; must be what the model sees", choices=("events", "image")),
    Parameter("events_type", EVENT_TYPES[0], "message on events", choices=EVENT_TYPES),
    Parameter(
        "keypoints_layout", "keypoint_array", "message on keypoints, and how it holds them", choices=tuple(LAYOUTS)
    ),
    Parameter("keypoints_coordinates", "pixel", _COORDINATES, choices=COORDINATES),
    Parameter(
        "keypoints_camera",
        0,
        "whose points to answer where the layout holds those of several cameras (vins_fusion)",
        bounds=(0, 100),
    ),
    Parameter("query_mode", "latest", _MODES, choices=tuple(mode.value for mode in QueryMode)),
    Parameter(
        "max_wait_ms",
        50.0,
        _WAIT,
        "ms",
        (0.0, 10000.0),
        live=True,
    ),
    Parameter("max_cache_age_ms", 200.0, _AGE, "ms", (1.0, 1e6), live=True),
    Parameter("allow_untrained", False, "mark depths of random weights OK; for tests and demonstrations only"),
    Parameter("motion", "none", _MOTION, choices=("none", *MESSAGES, "tf", BY_EVENTS)),
    Parameter("pose_type", MESSAGES["pose"][0], "message on pose", choices=MESSAGES["pose"]),
    Parameter("camera_pose", "", _CAMERA_POSE, per_stream=True),
    Parameter("world_frame", "odom", "frame of tf in which the camera is looked up; it must not jump (not map)"),
    Parameter(
        "max_pose_extrapolation_ms",
        30.0,
        "how far past the newest pose the camera is taken to go on as before; beyond it motion is not known",
        "ms",
        (0.0, 1000.0),
    ),
    Parameter(
        "pose_rotation_drift_dps",
        round(math.degrees(PoseErrors().rotation_rad_s), 3),
        _ROTATION_DRIFT,
        "deg/s",
        (0.0, 100.0),
    ),
    Parameter(
        "pose_translation_drift",
        PoseErrors().translation_share,
        "error of the way between poses, as a share of it, one standard deviation",
        bounds=(0.0, 10.0),
    ),
    Parameter("points_covariance", False, "~/points also holds the covariance of x, y, z"),
    Parameter(
        "keypoint_noise_px",
        0.5,
        "standard deviation of a keypoint's u and v, for that covariance",
        "px",
        (0.0, 100.0),
    ),
    Parameter("sensor_width", 0, _SENSOR, "px", (0, MAX_SENSOR_SIDE), per_stream=True),
    Parameter("sensor_height", 0, "see sensor_width", "px", (0, MAX_SENSOR_SIDE), per_stream=True),
    Parameter(
        "fx_px",
        0.0,
        "focal length for a camera without camera_info; 0: wait for camera_info",
        "px",
        (0.0, 1e6),
        live=True,
        per_stream=True,
    ),
    Parameter(
        "event_time_offset_ms",
        0.0,
        "added to the times of events where they become ROS times; for a camera whose stamps come late",
        "ms",
        (-10000.0, 10000.0),
        live=True,
        per_stream=True,
    ),
    Parameter(
        "hot_pixels_file", "", "text file of pixels to leave out, one 'x y' a line; empty: none", per_stream=True
    ),
    Parameter(
        "hot_pixels_learn_s",
        0.0,
        "for how long hot pixels are looked for after activation, to be left out from then on; 0: never",
        "s",
        (0.0, 600.0),
        per_stream=True,
    ),
    Parameter("support_filter_ms", 0.0, _SUPPORT, "ms", (0.0, MAX_MS), per_stream=True),
    Parameter(
        "max_waiting_windows",
        2,
        "windows of a stream that may wait for the encoder; the oldest is dropped and counted",
        bounds=(1, 100),
    ),
    Parameter(
        "max_waiting_packets",
        1000,
        "packets that may wait for the decoder; the oldest is dropped and counted",
        bounds=(1, 100000),
    ),
    Parameter(
        "max_waiting_requests",
        64,
        "requests that may wait for an answer; the newest is answered OVERLOADED",
        bounds=(1, 10000),
    ),
)

PLAYER_PARAMETERS = (
    Parameter("bag", "", "rosbag2 folder, .mcap or .db3 file, also compressed"),
    Parameter("rate", 1.0, "speed: 1 = as recorded", bounds=(0.001, 1000.0)),
    Parameter("topics", [""], "topics to play; empty: all but /clock"),
    Parameter("wait_for", [""], "topics that must have a subscriber before playing starts; empty: none"),
    Parameter("wait_s", 30.0, "how long to wait for these subscribers", "s", (0.0, 3600.0)),
)


def declare(
    node, table: Sequence[Parameter], prefix: str = "", defaults: Any = None, read_only: bool = True
) -> SimpleNamespace:
    """Declare the table on a node; returns the values by name. ValueError names a value of the wrong type or range.

    prefix: put before each name. defaults: an object whose attributes stand in for the table's defaults.
    """
    values = {}
    for parameter in table:
        name = prefix + parameter.name
        default = getattr(defaults, parameter.name, parameter.default)
        try:
            if node.has_parameter(name):
                value = node.get_parameter(name).value
            else:
                value = node.declare_parameter(name, default, parameter.descriptor(read_only)).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            given = node._parameter_overrides.get(name)
            shown = repr(given.value) if given is not None else str(error)
            listed = isinstance(default, list) and given is not None and not isinstance(given.value, list)
            cure = f"; write [{given.value}]" if listed else ""
            raise ValueError(
                f"parameter {name}: {shown} is not {parameter.wanted} ({parameter.description}){cure}"
            ) from None
        if parameter.choices and value not in parameter.choices:
            raise ValueError(f"parameter {name}: {value!r} is not {parameter.wanted}")
        values[parameter.name] = [v for v in value if v] if isinstance(value, list) else value
    return SimpleNamespace(**values)


def markdown(table: Sequence[Parameter]) -> str:
    """The table as the documentation shows it."""
    rows = ["| parameter | type | default | unit | range | changes | meaning |", "|---|---|---|---|---|---|---|"]
    for p in table:
        allowed = ", ".join(p.choices) or (f"{p.bounds[0]:g} … {p.bounds[1]:g}" if p.bounds else "")
        default = "[]" if p.default == [""] else str(p.default).lower() if isinstance(p.default, bool) else p.default
        shown = f"`{default}`" if default != "" else '`""`'
        name = f"`{p.name}`" + (" ¹" if p.per_stream else "")
        rows.append(
            f"| {name} | {TYPES[type(p.default)]} | {shown} | {p.unit} | {allowed} | {'live' if p.live else ''} | "
            f"{p.description} |"
        )
    return "\n".join(rows)


def document() -> str:
    """docs/parameters.md."""
    return f"""\
# Parameters

Written by `python -m eventspd_ros.ros.parameters > docs/parameters.md` from the table that declares them; a test keeps
the two equal. Set them in `config/eventspd.yaml` or with `-p name:=value`.

## eventspd_node

{markdown(NODE_PARAMETERS)}

*live*: takes effect at once with `ros2 param set`. The others are read when the node is configured, and can be set
while it is unconfigured; at other times setting them is refused with that reason.

¹ With `streams: [left, right]` each camera has its own, `left.fx_px` and `right.fx_px`, whose default is the value of
`fx_px`.

The QoS of every topic can be overridden at start with the standard parameters
`qos_overrides.<topic>.<subscription|publisher>.<history|depth|reliability>`.

## bag_player

{markdown(PLAYER_PARAMETERS)}

All of these are read at start.
"""


if __name__ == "__main__":
    print(document(), end="")
