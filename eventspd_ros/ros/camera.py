"""One camera of the node: its topics, its calibration, and its stream while the node is active."""

from __future__ import annotations

from collections.abc import Callable

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo

from eventspd_ros.events.hot_pixels import HotPixelFilter, load_filter
from eventspd_ros.inputs.camera_model import CameraModel, focal_length_px
from eventspd_ros.inputs.event_intake import EventIntake
from eventspd_ros.inputs.image_intake import ImageIntake
from eventspd_ros.inputs.intake import Intake
from eventspd_ros.inputs.keypoints import KeypointSource
from eventspd_ros.msg import KeypointArray
from eventspd_ros.predictor import Answer, Predictor
from eventspd_ros.ros.desk import Request
from eventspd_ros.ros.encoder import Encoder
from eventspd_ros.ros.images import IMAGE_INPUT
from eventspd_ros.ros.live_parameters import LiveParameters
from eventspd_ros.ros.messages import (
    CAMERA_INFO_QOS,
    KEYPOINTS_QOS,
    answer_to_msg,
    event_input,
    keypoints_to_msg,
    message_class,
    time_to_ns,
)
from eventspd_ros.ros.outputs import Outputs
from eventspd_ros.ros.parameters import MAX_SENSOR_SIDE
from eventspd_ros.ros.shared_model import SensorTables
from eventspd_ros.ros.stream import Stream, StreamParts, StreamSettings
from eventspd_ros.ros.topics import StreamTopics, Subscription
from eventspd_ros.ros.workers import Reporter


class Camera:
    """Made in configure, destroyed in cleanup. stream: between activate() and deactivate(), else the last one."""

    def __init__(self, node, name: str, parameters: LiveParameters, model, tables: SensorTables):
        """node: the EventspdNode. ValueError says what in the parameters does not fit."""
        self._node, self._parameters, self._model, self._tables = node, parameters, model, tables
        values = parameters.values
        self._source = IMAGE_INPUT if values.input == "image" else event_input(values.events_type)
        self._keypoints = KeypointSource(values.keypoints_layout, values.keypoints_coordinates, values.keypoints_camera)
        self.name = name
        self.reporter = Reporter(node.get_logger(), f"{name}: " if name else "")
        self.camera_info: CameraInfo | None = None
        self._lens: tuple[CameraInfo, tuple[int, int], CameraModel | None] | None = None
        self.stream: Stream | None = None
        own = self._own
        known = own.sensor_width and own.sensor_height
        if known:
            tables.prepare(name, own.sensor_height, own.sensor_width)
        # A wrong file is known before anything starts.
        self.make_filter(*((own.sensor_height, own.sensor_width) if known else (MAX_SENSOR_SIDE, MAX_SENSOR_SIDE)))
        self.topics = StreamTopics(node, name)
        self.outputs = Outputs(self.topics.publisher, self.reporter, node.report_fault, name)

    @property
    def _own(self):
        return self._parameters.streams[self.name]

    def activate(self, encoder: Encoder) -> None:
        values = self._parameters.values
        images = values.input == "image"
        # An image is a packet and a window in one.
        waiting = values.max_waiting_windows if images else values.max_waiting_packets
        settings = StreamSettings(max_packets=waiting, max_requests=values.max_waiting_requests)
        parts = StreamParts(
            self.make_intake,
            self.make_predictor,
            self.publish,
            self._source.parse,
            self._node.report_fault,
            self.outputs.wants_events,
        )
        self.stream = Stream(self.name, settings, parts, encoder, self.reporter)
        self.apply()
        own = self._own
        if own.sensor_width and own.sensor_height:
            self.stream.intake.begin(own.sensor_height, own.sensor_width)
        self.stream.start()
        self.topics.subscribe(self._inputs())
        names = self.topics.topic_names
        self._node.get_logger().info(f"listening to {', '.join(names)}; answers on {self.topics.answers.topic_name}")

    def _inputs(self) -> list[Subscription]:
        source, keypoints_type = self._source, message_class(self._keypoints.message_type)
        return [
            Subscription(source.topic, source.message_type, source.qos, self.on_source, raw=True),
            Subscription("camera_info", CameraInfo, CAMERA_INFO_QOS, self.on_camera_info),
            Subscription("keypoints", keypoints_type, KEYPOINTS_QOS, self.on_keypoints),
        ]

    def deactivate(self) -> bool:
        """Answer what waits and join the threads; whether they ended."""
        self.topics.unsubscribe()
        return self.stream is None or self.stream.close()

    def destroy(self) -> bool:
        """Let go of the publishers; whether the thread that draws ended."""
        ended = self.outputs.close()
        self.topics.destroy()
        return ended

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
            self.stream.intake.history_ns = predictor.history_ns
            predictor.fx_px = self.focal_length_px(predictor.width)

    def make_intake(self, on_begin: Callable[[int, int, int], None]) -> Intake:
        if self._parameters.values.input == "image":
            return ImageIntake(on_begin, self.reporter)
        return EventIntake(self._model.config, on_begin, self.reporter, self.make_filter)

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

    def on_source(self, raw: bytes) -> None:
        self.stream.put_packet(raw, self._node.get_clock().now().nanoseconds)

    def on_camera_info(self, msg: CameraInfo) -> None:
        msg.header.stamp = Time()
        if msg == self.camera_info:
            return  # it comes with every picture; only what changed matters
        self.camera_info = msg
        if (predictor := self.stream.predictor) is not None:
            predictor.fx_px = self.focal_length_px(predictor.width)

    def on_keypoints(self, msg) -> None:
        """msg: as keypoints_layout has it."""
        stamp_ns = time_to_ns(msg.header.stamp) or self._node.get_clock().now().nanoseconds
        k = self._keypoints.read(msg, self.camera_model())
        points = k.uv_px if k.refusal is None else None
        request = Request(
            keypoints_to_msg(k, msg.header), points, len(k.id), stamp_ns, refusal=k.refusal, reason=k.reason
        )
        self.stream.put_request(request)

    def publish(self, request: KeypointArray, answer: Answer, window_ns: tuple[int, int]) -> None:
        message = answer_to_msg(request, answer, window_ns)
        self.topics.answers.publish(message)
        self.outputs.put(message, self.camera_model(), self.stream.window_of(answer))

    def camera_model(self) -> CameraModel | None:
        """The lens, as the newest camera_info has it for the sensor; None where it says nothing usable."""
        info, predictor, lens = self.camera_info, self.stream.predictor, self._lens
        if info is None or predictor is None:
            return None
        size = (predictor.width, predictor.height)
        if lens is None or lens[0] is not info or lens[1] != size:
            lens = self._lens = (info, size, self._read_lens(info, *size))
        return lens[2]

    def _read_lens(self, info: CameraInfo, width: int, height: int) -> CameraModel | None:
        try:
            return CameraModel.from_info(info, width, height)
        except ValueError as error:
            self.reporter.error("lens", f"{error}: no points, no depth image")
            return None

    def focal_length_px(self, width: int) -> float | None:
        """The parameter, or what camera_info says of a sensor of that width; None where neither does."""
        if self._own.fx_px:
            return self._own.fx_px
        try:
            return focal_length_px(self.camera_info, width)
        except ValueError as error:
            self.reporter.error("camera_info", str(error))
            return None
