"""Node parameters: one table from which they are declared, checked, read and documented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException


@dataclass(frozen=True, slots=True)
class Parameter:
    """One read-only parameter. The type is the default's; bounds hold both ends."""

    name: str
    default: bool | int | float | str | list[str]
    description: str
    bounds: tuple[float, float] | None = None

    def descriptor(self) -> ParameterDescriptor:
        descriptor = ParameterDescriptor(description=self.description, read_only=True)
        if self.bounds is not None and isinstance(self.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=self.bounds[0], to_value=self.bounds[1])]
        elif self.bounds is not None:
            low, high = (int(b) for b in self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor


NODE_PARAMETERS = (
    Parameter("preset", "minimal", "model to build when weights is empty; it is untrained then"),
    Parameter("weights", "", "safetensors checkpoint of this package (a path); empty: random weights of the preset"),
    Parameter("device", "auto", "torch device: auto (CUDA where there is one), cpu, cuda or cuda:N"),
    Parameter(
        "window_ms", 20.0, "length of the event window, ms; must be the one the weights were made for", (1.0, 1000.0)
    ),
    Parameter("stride_ms", 8.333, "time between the ends of two windows, ms; likewise", (0.1, 1000.0)),
    Parameter(
        "sensor_width",
        0,
        "px; with sensor_height prepares the model at start, not at the first packet; 0: unknown",
        (0, 4096),
    ),
    Parameter("sensor_height", 0, "px", (0, 4096)),
    Parameter("fx_px", 0.0, "focal length in px for a camera without camera_info; 0: wait for camera_info", (0.0, 1e6)),
    Parameter(
        "max_cache_age_ms",
        200.0,
        "ms between a request's stamp and the end of the window that answers it; beyond it: STALE_CACHE",
        (1.0, 1e6),
    ),
    Parameter(
        "events_type",
        "event_camera_msgs/msg/EventPacket",
        "message on events: this, dvs_msgs/msg/EventArray or prophesee_event_msgs/msg/EventArray",
    ),
    Parameter(
        "keypoints_layout",
        "keypoint_array",
        "message on keypoints: keypoint_array, point_cloud2 (fields id, u, v), vins_mono, vins_fusion or openvins",
    ),
    Parameter(
        "keypoints_coordinates",
        "pixel",
        "of the keypoints: pixel (raw image), rectified or normalized; the last two need camera_info",
    ),
    Parameter(
        "keypoints_camera", 0, "whose points to answer where the layout holds several cameras' (vins_fusion)", (0, 100)
    ),
    Parameter("allow_untrained", False, "mark depths of random weights OK; for tests and demonstrations only"),
    Parameter(
        "max_waiting_windows", 2, "windows that may wait for the encoder; the oldest is dropped and counted", (1, 100)
    ),
    Parameter(
        "max_waiting_packets",
        1000,
        "packets that may wait for the decoder; the oldest is dropped and counted",
        (1, 100000),
    ),
    Parameter(
        "max_waiting_requests",
        64,
        "requests that may wait for an answer; the newest is answered OVERLOADED",
        (1, 10000),
    ),
)

PLAYER_PARAMETERS = (
    Parameter("bag", "", "rosbag2 folder, .mcap or .db3 file"),
    Parameter("rate", 1.0, "speed: 1 = as recorded", (0.001, 1000.0)),
    Parameter("topics", [""], "topics to play; empty: all"),
    Parameter("wait_for", [""], "topics that must have a subscriber before playing starts; empty: none"),
    Parameter("wait_s", 30.0, "how long to wait for these subscribers, s", (0.0, 3600.0)),
)


def declare(node, table: Sequence[Parameter]) -> SimpleNamespace:
    """Declare the table on a node; returns the values by name. ValueError names a value of the wrong type or range."""
    values = {}
    for parameter in table:
        try:
            value = node.declare_parameter(parameter.name, parameter.default, parameter.descriptor()).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            given = node._parameter_overrides.get(parameter.name)
            wanted = type(parameter.default).__name__ + (f" in {list(parameter.bounds)}" if parameter.bounds else "")
            shown = repr(given.value) if given is not None else str(error)
            raise ValueError(
                f"parameter {parameter.name}: {shown} is not a {wanted} ({parameter.description})"
            ) from None
        values[parameter.name] = [v for v in value if v] if isinstance(value, list) else value
    return SimpleNamespace(**values)


def markdown(table: Sequence[Parameter]) -> str:
    """The table as README.md shows it; a test compares the two."""
    rows = ["| parameter | default | range | meaning |", "|---|---|---|---|"]
    for p in table:
        bounds = f"{p.bounds[0]:g} … {p.bounds[1]:g}" if p.bounds else ""
        default = "[]" if p.default == [""] else str(p.default).lower() if isinstance(p.default, bool) else p.default
        rows.append(f"| `{p.name}` | `{default if default != '' else chr(34) * 2}` | {bounds} | {p.description} |")
    return "\n".join(rows)
