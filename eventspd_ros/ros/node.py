"""The ROS 2 node: event packets and keypoints in, metric depths with their uncertainty out.

    events (event_camera_msgs/EventPacket), camera_info (sensor_msgs/CameraInfo), keypoints (KeypointArray)
    → ~/keypoint_depths (KeypointDepthArray), /diagnostics (diagnostic_msgs/DiagnosticArray, 1 Hz),
      ~/points (PointCloud2), ~/depth/image and ~/depth/camera_info, ~/overlay (Image) while someone listens

The node converts and publishes; stream.py works, predictor.py computes.
"""

from __future__ import annotations

import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from eventspd_ros.events.codecs import ENCODINGS, make_decoder
from eventspd_ros.events.types import EventArray
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.presets import build_model
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from eventspd_ros.predictor import Answer, Predictor
from eventspd_ros.ros.camera_model import CameraModel
from eventspd_ros.ros.diagnostics import stream_status
from eventspd_ros.ros.keypoint_inputs import KeypointSource
from eventspd_ros.ros.messages import (
    CAMERA_INFO_QOS,
    EVENTS_QOS,
    KEYPOINTS_QOS,
    answer_to_msg,
    event_input,
    time_to_ns,
)
from eventspd_ros.ros.outputs import Outputs
from eventspd_ros.ros.parameters import NODE_PARAMETERS, declare
from eventspd_ros.ros.process import ros_context
from eventspd_ros.ros.stream import LOG_PERIOD_S, Limits, Request, Stream

# Larger than any event camera; a size beyond it is a corrupt packet, not a sensor to allocate for.
MAX_SENSOR_PX = 4096


def choose_device(name: str) -> torch.device:
    """auto → CUDA where there is one. ValueError names a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r}: {reason}; use auto, cpu or cuda:N") from None


def load_model(parameters):
    """The model the parameters name, on its device, ready for inference. ValueError says what does not fit."""
    device = choose_device(parameters.device)
    model = load_checkpoint(parameters.weights, device) if parameters.weights else build_model(parameters.preset)
    for name in ("window_ms", "stride_ms"):
        made_for, asked = getattr(model.config, name), getattr(parameters, name)
        if made_for != asked:
            raise ValueError(
                f"{name} is {asked}, but the model {parameters.weights or parameters.preset} was made for {made_for}"
            )
    return model.to(device).eval()


def warm_up(model) -> None:
    """Compile the decoders and wake torch's threads now, not on the first packets."""
    for encoding in ENCODINGS:
        make_decoder(encoding, width=8, height=8)
    predictor = Predictor(model, height=64, width=64, fx_px=64.0, allow_untrained=True)
    columns = (np.zeros(2, dtype) for dtype in (np.uint16, np.uint16, np.uint8))
    times = np.array([0, 1_000_000_000], np.int64)
    for window in predictor.push(EventArray(*columns, times, width=64, height=64)):
        predictor.encode(window)
        predictor.query([[0.0, 0.0]])


class EventspdNode(Node):
    """Subscribes on construction; close() answers what waits and stops the threads."""

    def __init__(self, **node_options):
        super().__init__("eventspd", **node_options)
        self.parameters = declare(self, NODE_PARAMETERS)
        self.event_input = event_input(self.parameters.events_type)
        self.keypoint_source = KeypointSource(
            self.parameters.keypoints_layout, self.parameters.keypoints_coordinates, self.parameters.keypoints_camera
        )
        self.model = load_model(self.parameters)
        warm_up(self.model)
        self.camera_info: CameraInfo | None = None
        self.camera_model: CameraModel | None = None
        if not self.model.trained:
            self.get_logger().warning(
                f"UNTRAINED: preset {self.model.config.preset} has random weights; depths mean nothing and are "
                + ("marked OK because allow_untrained is true" if self.parameters.allow_untrained else "not given")
            )
        limits = Limits(
            self.parameters.max_waiting_windows,
            self.parameters.max_waiting_packets,
            self.parameters.max_waiting_requests,
        )
        self.publisher = self.create_publisher(
            KeypointDepthArray,
            "~/keypoint_depths",
            KEYPOINTS_QOS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self.outputs = Outputs(self.create_publisher, self.get_logger())
        self.diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.stream = Stream(self.make_predictor, limits, self.publish_answer, self.get_logger())
        if self.parameters.sensor_width and self.parameters.sensor_height:
            self.stream.expect_sensor(self.parameters.sensor_height, self.parameters.sensor_width)
        self._subscribe(self.event_input.message_type, "events", self.on_events, EVENTS_QOS, raw=True)
        self._subscribe(CameraInfo, "camera_info", self.on_camera_info, CAMERA_INFO_QOS)
        self._subscribe(self.keypoint_source.message_type, "keypoints", self.on_keypoints, KEYPOINTS_QOS)
        self.create_timer(1.0, self.publish_diagnostics)
        topics = ", ".join(s.topic_name for s in self.subscriptions if s.topic_name != "/parameter_events")
        self.get_logger().info(f"listening to {topics}; answers on {self.publisher.topic_name}")
        self.create_timer(0.05, lambda: self.stream.put_time(self.get_clock().now().nanoseconds))

    def _subscribe(self, message_type, topic: str, callback, qos, raw: bool = False) -> None:
        overriding = QoSOverridingOptions.with_default_policies()
        self.create_subscription(message_type, topic, callback, qos, raw=raw, qos_overriding_options=overriding)

    def make_predictor(self, height: int, width: int) -> Predictor:
        """Called by the stream when it knows the sensor's size."""
        if max(height, width) > MAX_SENSOR_PX:
            raise ValueError(f"sensor of {width}x{height} px, more than {MAX_SENSOR_PX}: the packet is corrupt")
        self.get_logger().info(f"sensor {width}x{height}, {self.model.config.preset} on {self.device_name()}")
        self.model.prepare(height, width)
        self.camera_model = self.camera_model_for(height, width)
        return Predictor(
            self.model,
            height,
            width,
            self.focal_length_px(width),
            self.parameters.max_cache_age_ms,
            self.parameters.allow_untrained,
        )

    def device_name(self) -> str:
        device = next(self.model.parameters()).device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)

    def on_events(self, raw: bytes) -> None:
        try:
            self.stream.put_packet(self.event_input.parse(raw))
        except ValueError as error:
            self.stream.packets_rejected += 1
            self.get_logger().error(f"events left out: {error}", throttle_duration_sec=LOG_PERIOD_S)

    def on_camera_info(self, msg: CameraInfo) -> None:
        self.camera_info = msg
        if (predictor := self.stream.predictor) is not None:
            predictor.fx_px = self.focal_length_px(predictor.width)
            self.camera_model = self.camera_model_for(predictor.height, predictor.width)

    def camera_model_for(self, height: int, width: int) -> CameraModel | None:
        """What camera_info says of a sensor of that size; None where it says nothing usable."""
        if self.camera_info is None:
            return None
        try:
            return CameraModel.from_info(self.camera_info, width, height)
        except ValueError as error:
            self.get_logger().error(f"{error}: no points, no depth image", throttle_duration_sec=LOG_PERIOD_S)
            return None

    def focal_length_px(self, width: int) -> float | None:
        """The parameter, or what camera_info says of a sensor of that width; None where neither does."""
        if self.parameters.fx_px:
            return self.parameters.fx_px
        info = self.camera_info
        if info is None or not 0.0 < info.k[0] < float("inf"):  # uncalibrated drivers send zeros
            return None
        if info.width not in (0, width):
            self.get_logger().error(
                f"camera_info is for a width of {info.width} px, the events for {width}: no focal length",
                throttle_duration_sec=10.0,
            )
            return None
        return float(info.k[0])

    def on_keypoints(self, msg) -> None:
        stamp_ns = time_to_ns(msg.header.stamp) or self.get_clock().now().nanoseconds
        keypoints = self.keypoint_source.read(msg, self.camera_model)
        points = keypoints.uv_px if keypoints.refusal is None else None
        refusal = {"refusal": keypoints.refusal, "reason": keypoints.reason}
        self.stream.put_request(Request(keypoints.to_msg(msg.header), points, len(keypoints.id), stamp_ns, **refusal))

    def publish_answer(self, request: KeypointArray, answer: Answer, window_ns: tuple[int, int]) -> None:
        message = answer_to_msg(request, answer, window_ns)
        self.publisher.publish(message)
        windows = list(self.stream.encoded_windows)
        events = next((window for window in windows if window.end_ns == answer.window_end_ns), None)
        self.outputs.put(message, self.camera_model, events)

    def publish_diagnostics(self) -> None:
        message = DiagnosticArray(status=[stream_status(self.get_fully_qualified_name(), self.stream, self.model)])
        message.header.stamp = self.get_clock().now().to_msg()
        self.diagnostics.publish(message)

    def close(self) -> None:
        self.stream.close()
        self.outputs.close()
        self.get_logger().info(
            ", ".join(f"{v.key} {v.value}" for v in stream_status("", self.stream, self.model).values)
        )


def main(args: list[str] | None = None) -> None:
    """ros2 run eventspd_ros eventspd_node"""
    with ros_context(args):
        node = EventspdNode()
        try:
            rclpy.spin(node)
        finally:
            node.close()
            node.destroy_node()


if __name__ == "__main__":
    main()
