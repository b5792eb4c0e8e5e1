"""The demo's third process: records requests, answers and diagnostics, and makes keypoints where a bag has none."""

from __future__ import annotations

import array
import time

from rosgraph_msgs.msg import Clock

from eventspd_ros.events.clock import SensorClock
from eventspd_ros.events.codecs import Decoder, make_decoder
from eventspd_ros.events.types import EventPacket, EventWindow
from eventspd_ros.events.windows import WindowSlicer
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from eventspd_ros.ros.messages import EVENTS_QOS, KEYPOINTS_QOS, event_input, ns_to_time, time_to_ns
from eventspd_ros.ros.outside.node_under_test import NodeUnderTest
from eventspd_ros.simulation.keypoints import event_corners

CORNERS = 128
CORNER_WINDOW_NS = 20_000_000
CORNER_STRIDE_NS = 33_333_333
MAX_HELD_EVENTS = 4_000_000


class Recorder(NodeUnderTest):
    """answers: KeypointDepthArray in order of arrival. request_times, answer_times: monotonic s by stamp in ns."""

    def __init__(self, keypoints_topic: str):
        super().__init__("eventspd_recorder")
        self.answers: list[KeypointDepthArray] = []
        self.request_times: dict[int, float] = {}
        self.answer_times: dict[int, float] = {}
        self.create_subscription(KeypointArray, keypoints_topic, self._on_request, KEYPOINTS_QOS)

    def make_keypoints(self, events_topic: str, events_type: str, keypoints_topic: str) -> None:
        """Publish corners of the events, for a bag without keypoints. ValueError: events_type is not installed."""
        events = event_input(events_type)
        corners = CornerFrontEnd(self.create_publisher(KeypointArray, keypoints_topic, KEYPOINTS_QOS))
        self.create_subscription(
            events.message_type, events_topic, lambda raw: corners.take(events.parse(raw)), EVENTS_QOS, raw=True
        )

    def hears(self, topic: str) -> bool:
        """Whether the player publishes the topic; once it does, hear /clock too, for which the player waits."""
        if self.count_publishers(topic) == 0:
            return False
        self.create_subscription(Clock, "/clock", lambda clock: None, 1)
        return True

    @property
    def is_complete(self) -> bool:
        """Every request heard is answered, and none came for a second."""
        newest_s = max(self.request_times.values(), default=0.0)
        return len(self.answers) >= len(self.request_times) and time.monotonic() > newest_s + 1.0

    def latencies_ms(self) -> list[float]:
        """From this process's hearing a request to its hearing the answer."""
        return [1e3 * (t - self.request_times[s]) for s, t in self.answer_times.items() if s in self.request_times]

    def _on_request(self, msg: KeypointArray) -> None:
        self.request_times[time_to_ns(msg.header.stamp)] = time.monotonic()

    def _on_answer(self, msg: KeypointDepthArray) -> None:
        self.answer_times[time_to_ns(msg.header.stamp)] = time.monotonic()
        self.answers.append(msg)


class CornerFrontEnd:
    """A SLAM front-end's stand-in: publishes corners of the last 20 ms of events at 30 Hz."""

    def __init__(self, publisher):
        self._publisher = publisher
        self._decoder: Decoder | None = None
        self._slicer: WindowSlicer | None = None
        self._clock = SensorClock()
        self._next_id = 0  # corners are not tracked: an id never comes again

    def take(self, packet: EventPacket) -> None:
        if self._decoder is None or self._slicer is None:
            self._decoder = make_decoder(packet.encoding, packet.width, packet.height)
            self._slicer = WindowSlicer(
                packet.width, packet.height, CORNER_WINDOW_NS, CORNER_STRIDE_NS, MAX_HELD_EVENTS
            )
        events = self._decoder.decode(packet)
        if len(events):
            self._clock.update(packet.stamp_ns, int(events.t_ns[0]))
        for window in self._slicer.push(events):
            self._publish(window)

    def _publish(self, window: EventWindow) -> None:
        uv = event_corners(window, window.height, window.width, CORNERS)
        keypoints = KeypointArray(
            id=array.array("Q", range(self._next_id, self._next_id + len(uv))),
            u=array.array("f", uv[:, 0].tobytes()),
            v=array.array("f", uv[:, 1].tobytes()),
        )
        keypoints.header.stamp = ns_to_time(self._clock.to_ros(window.end_ns))
        self._next_id += len(uv)
        self._publisher.publish(keypoints)
