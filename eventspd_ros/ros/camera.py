"""One camera of the node: its topics, its calibration, and its stream while the node is active."""

from __future__ import annotations

from collections.abc import Callable

from sensor_msgs.msg import CameraInfo

from eventspd_ros.events.hot_pixels import HotPixelFilter, load_filter
from eventspd_ros.events.messages import new_keypoints, time_to_ns
from eventspd_ros.inputs.answers import new_answer
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.event_intake import EventIntake
from eventspd_ros.inputs.image_intake import ImageIntake
from eventspd_ros.inputs.intake import Intake
from eventspd_ros.inputs.keypoints import KeypointSource
from eventspd_ros.motion.depth_from_motion import MotionDepth
from eventspd_ros.motion.trajectory import Trajectory
from eventspd_ros.msg import KeypointArray
from eventspd_ros.predictor import Answer, Predictor
from eventspd_ros.ros.calibration import Calibration, LensTeller
from eventspd_ros.ros.clouds import read_field
from eventspd_ros.ros.coarse import CoarseDepth
from eventspd_ros.ros.desk import Request
from eventspd_ros.ros.encoder import EncoderThread
from eventspd_ros.ros.images import IMAGE_INPUT
from eventspd_ros.ros.live_parameters import LiveParameters
from eventspd_ros.ros.messages import CAMERA_INFO_QOS, KEYPOINTS_QOS, event_input, message_class, new_message
from eventspd_ros.ros.motion_parameters import MotionParameters
from eventspd_ros.ros.outputs import Outputs
from eventspd_ros.ros.parameters import BY_EVENTS, MAX_SENSOR_SIDE
from eventspd_ros.ros.shared_model import SensorTables
from eventspd_ros.ros.stream import Stream, StreamParts, StreamSettings
from eventspd_ros.ros.topics import StreamTopics, Subscription
from eventspd_ros.ros.workers import Reporter


class Camera:
    """Made when the node is configured, destroyed when it is cleaned up.

    stream: made by activate(); after deactivate() it is the one that has ended, for its counts. None: never active.
    """

    def __init__(self, node, name: str, parameters: LiveParameters, model, tables: SensorTables):
        """node: the EventspdNode. ValueError says what in the parameters does not fit."""
        self._node, self._parameters, self._model, self._tables = node, parameters, model, tables
        values = parameters.values
        self._source = IMAGE_INPUT if values.input == "image" else event_input(values.events_type)
        self._keypoints = KeypointSource(values.keypoints_layout, values.keypoints_coordinates, values.keypoints_camera)
        self.name = name
        self.reporter = Reporter(node.get_logger(), f"{name}: " if name else "")
        self.calibration = Calibration(lambda: self._own.fx_px, self.reporter)
        self.stream: Stream | None = None
        own = self._own
        known = own.sensor_width and own.sensor_height
        if known:
            tables.prepare(name, own.sensor_height, own.sensor_width)
        # A wrong file is known before anything starts.
        self.make_filter(*((own.sensor_height, own.sensor_width) if known else (MAX_SENSOR_SIDE, MAX_SENSOR_SIDE)))
        self._lenses: LensTeller | None = None
        self._motion = None
        if values.motion not in ("none", BY_EVENTS):
            self._motion = MotionParameters(node, values, own.camera_pose, self._frame_id)
        self.topics = StreamTopics(node, name)
        noise_px = values.keypoint_noise_px if values.points_covariance else None
        self.outputs = Outputs(self.topics.publisher, self.reporter, node.report_fault, name, noise_px)
        self.coarse = CoarseDepth(self.topics.publisher, self.reporter, node.report_fault, name)

    @property
    def active_stream(self) -> Stream:
        """The stream, once activate() was called."""
        assert self.stream is not None, "nothing is heard before"
        return self.stream

    @property
    def _own(self):
        return self._parameters.streams[self.name]

    @property
    def source_topic(self) -> str:
        """Of the events or images, relative."""
        return f"{self.name}/{self._source.topic}" if self.name else self._source.topic

    def activate(self, encoder: EncoderThread) -> None:
        values = self._parameters.values
        images = values.input == "image"
        # An image is a packet and a window in one.
        waiting = values.max_waiting_windows if images else values.max_waiting_packets
        settings = StreamSettings(max_packets=waiting, max_requests=values.max_waiting_requests)
        on_fault, poses = self._node.report_fault, None
        if self._motion is not None:
            poses = self._motion.make_poses(self.reporter, on_fault)
        if values.motion != "none":
            self._lenses = LensTeller(self.reporter, on_fault)
        parts = StreamParts(
            self.make_intake,
            self.make_predictor,
            self.publish,
            self._source.parse,
            on_fault,
            self.on_window,
            self.outputs.wants_events,
            poses,
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
        rows = [
            Subscription(source.topic, source.message_type, source.qos, self.on_source, raw=True),
            Subscription("camera_info", CameraInfo, CAMERA_INFO_QOS, self.on_camera_info),
            Subscription("keypoints", keypoints_type, KEYPOINTS_QOS, self.on_keypoints),
        ]
        poses = self.active_stream.poses
        return rows if self._motion is None or poses is None else rows + self._motion.inputs(poses)

    def deactivate(self) -> bool:
        """Answer what waits and join the threads; whether they ended."""
        self.topics.unsubscribe()
        ended = self.stream is None or self.stream.close()
        return (self._lenses is None or self._lenses.close()) and ended

    def destroy(self) -> bool:
        """Let go of the publishers; whether the thread that draws ended."""
        ended = self.outputs.close() & self.coarse.close()
        self.topics.destroy()
        if self._motion is not None:
            self._motion.close()
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
            self._calibrate(predictor)

    def make_intake(self, on_begin: Callable[[int, int, int], None]) -> Intake:
        if self._parameters.values.input == "image":
            return ImageIntake(on_begin, self.reporter)
        support_filter_ms = self._own.support_filter_ms
        return EventIntake(
            self._model.config, on_begin, self.reporter, self.make_filter, support_filter_ms=support_filter_ms
        )

    def make_predictor(self, height: int, width: int) -> Predictor:
        """Called by the stream when it knows the sensor's size."""
        self._tables.prepare(self.name, height, width)
        values = self._parameters.values
        self._node.get_logger().info(
            f"{self.name or 'sensor'} {width}x{height}, {self._model.config.preset} on {self._model.device}"
        )
        motion = None
        if self._motion is not None and (poses := self.active_stream.poses) is not None:
            motion = self._motion.make_motion(height, width, poses.trajectory)
        elif values.motion == BY_EVENTS:
            motion = MotionDepth(height, width, Trajectory(), by_events=True)
        predictor = Predictor(
            self._model,
            height,
            width,
            max_cache_age_ms=values.max_cache_age_ms,
            allow_untrained=values.allow_untrained,
            mode=values.query_mode,
            motion=motion,
        )
        self._calibrate(predictor)
        return predictor

    def _calibrate(self, predictor: Predictor) -> None:
        predictor.fx_px = self.calibration.focal_length_px(predictor.width)
        if predictor.motion is not None and self._lenses is not None:
            self._lenses.put(predictor.motion, self.calibration.lens(predictor.height, predictor.width))

    def make_filter(self, height: int, width: int) -> HotPixelFilter | None:
        own = self._own
        return load_filter(own.hot_pixels_file, own.hot_pixels_learn_s, height, width)

    def on_source(self, raw: bytes) -> None:
        self.active_stream.put_packet(raw, self._node.get_clock().now().nanoseconds)

    def on_camera_info(self, msg: CameraInfo) -> None:
        if self.calibration.take(msg) and (predictor := self.active_stream.predictor) is not None:
            self._calibrate(predictor)

    def on_keypoints(self, msg) -> None:
        """msg: as keypoints_layout has it."""
        stamp_ns = time_to_ns(msg.header.stamp) or self._node.get_clock().now().nanoseconds
        k = self._keypoints.read(msg, self.camera_model(), read_field)
        points = k.uv_px if k.refusal is None else None
        asked = new_keypoints(new_message, msg.header, k.id, k.uv_px)
        self.active_stream.put_request(
            Request(asked, points, len(k.id), stamp_ns, refusal=k.refusal, reason=k.reason, ids=k.id)
        )

    def publish(self, request: KeypointArray, answer: Answer, window_ns: tuple[int, int]) -> None:
        message = new_answer(new_message, request, answer, window_ns)
        self.topics.answers.publish(message)
        self.outputs.put(message, self.camera_model(), self.active_stream.window_of(answer))

    def on_window(self) -> None:
        """A window has been encoded."""
        stream, camera = self.active_stream, self.camera_model()
        predictor, offset_ns = stream.predictor, stream.offset_ns
        if self.coarse.is_wanted() and predictor is not None and offset_ns is not None and camera is not None:
            self.coarse.put(predictor, camera, offset_ns)

    def camera_model(self) -> CameraModel | None:
        """The lens, as the newest camera_info has it for the sensor; None where it says nothing usable."""
        predictor = self.active_stream.predictor
        return None if predictor is None else self.calibration.camera_model(predictor.height, predictor.width)

    def _frame_id(self) -> str:
        """The optical frame; '' where camera_info did not come or names none."""
        return "" if self.calibration.info is None else self.calibration.info.header.frame_id
