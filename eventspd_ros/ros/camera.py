"""One camera of the node: its topics, its calibration, and its stream while the node is active."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo

from eventspd_ros.events.hot_pixels import HotPixelFilter, load_filter
from eventspd_ros.msg import KeypointArray
from eventspd_ros.predictor import Answer, Predictor
from eventspd_ros.ros.desk import Request
from eventspd_ros.ros.encoder import Encoder
from eventspd_ros.ros.live_parameters import LiveParameters
from eventspd_ros.ros.messages import answer_to_msg, points_from_msg, time_to_ns
from eventspd_ros.ros.shared_model import SensorTables
from eventspd_ros.ros.stream import Stream, StreamParts, StreamSettings
from eventspd_ros.ros.topics import StreamTopics, parse_packet
from eventspd_ros.ros.workers import Reporter


class Camera:
    """Made in configure, destroyed in cleanup. stream: between activate() and deactivate(), else the last one."""

    def __init__(self, node: LifecycleNode, name: str, parameters: LiveParameters, model, tables: SensorTables):
        self._node, self._parameters, self._model, self._tables = node, parameters, model, tables
        self.name = name
        self.reporter = Reporter(node.get_logger(), f"{name}: " if name else "")
        self.camera_info: CameraInfo | None = None
        self.stream: Stream | None = None
        own = self._own
        if own.sensor_width and own.sensor_height:
            tables.prepare(name, own.sensor_height, own.sensor_width)
            self.make_filter(own.sensor_height, own.sensor_width)  # a wrong file is known before anything starts
        self.topics = StreamTopics(node, name)

    @property
    def _own(self):
        return self._parameters.streams[self.name]

    def activate(self, encoder: Encoder, on_fault: Callable[[str], None]) -> None:
        values = self._parameters.values
        settings = StreamSettings(max_packets=values.max_waiting_packets, max_requests=values.max_waiting_requests)
        parts = StreamParts(self.make_predictor, self.publish, parse_packet, self.make_filter, on_fault)
        self.stream = Stream(self.name, settings, parts, encoder, self.reporter)
        self.apply()
        own = self._own
        if own.sensor_width and own.sensor_height:
            self.stream.intake.expect_sensor(own.sensor_height, own.sensor_width)
        self.stream.start()
        self.topics.subscribe(self.on_events, self.on_camera_info, self.on_keypoints)
        names = self.topics.topic_names
        self._node.get_logger().info(f"listening to {', '.join(names)}; answers on {self.topics.answers.topic_name}")

    def deactivate(self) -> bool:
        """Answer what waits and join the threads; whether they ended."""
        self.topics.unsubscribe()
        return self.stream is None or self.stream.close()

    def destroy(self) -> None:
        self.topics.destroy()

    def apply(self) -> None:
        """Let live parameters take effect."""
        if self.stream is None:
            return
        values, own = self._parameters.values, self._own
        self.stream.settings.max_wait_ms = values.max_wait_ms
        self.stream.settings.max_packet_age_ms = values.max_cache_age_ms
        self.stream.settings.event_time_offset_ms = own.event_time_offset_ms
        if (predictor := self.stream.predictor) is not None:
            predictor.max_cache_age_ms = values.max_cache_age_ms
            predictor.fx_px = self.focal_length_px(predictor.width)

    def make_predictor(self, height: int, width: int) -> Predictor:
        """Called by the stream when it knows the sensor's size."""
        self._tables.prepare(self.name, height, width)
        values = self._parameters.values
        self._node.get_logger().info(
            f"{self.name or 'sensor'} {width}x{height}, {self._model.config.preset} on {self._model.device}"
        )
        return Predictor(
            self._model,
            height,
            width,
            self.focal_length_px(width),
            values.max_cache_age_ms,
            values.allow_untrained,
            values.query_mode,
        )

    def make_filter(self, height: int, width: int) -> HotPixelFilter | None:
        own = self._own
        return load_filter(own.hot_pixels_file, own.hot_pixels_learn_s, height, width)

    def on_events(self, raw: bytes) -> None:
        self.stream.put_packet(raw, self._node.get_clock().now().nanoseconds)

    def on_camera_info(self, msg: CameraInfo) -> None:
        self.camera_info = msg
        if (predictor := self.stream.predictor) is not None:
            predictor.fx_px = self.focal_length_px(predictor.width)

    def on_keypoints(self, msg: KeypointArray) -> None:
        stamp_ns = time_to_ns(msg.header.stamp) or self._node.get_clock().now().nanoseconds
        self.stream.put_request(Request(msg, points_from_msg(msg), len(msg.id), stamp_ns))

    def publish(self, request: KeypointArray, answer: Answer, window_ns: tuple[int, int]) -> None:
        self.topics.answers.publish(answer_to_msg(request, answer, window_ns))

    def focal_length_px(self, width: int) -> float | None:
        """The parameter, or what camera_info says of a sensor of that width; None where neither does."""
        if self._own.fx_px:
            return self._own.fx_px
        info = self.camera_info
        if info is None or not 0.0 < info.k[0] < float("inf"):  # uncalibrated drivers send zeros
            return None
        if info.width not in (0, width):
            self.reporter.error(
                "camera_info",
                f"camera_info is for a width of {info.width} px, the events for {width}: no focal length",
            )
            return None
        return float(info.k[0])
