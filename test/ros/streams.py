"""Event packets and a stream around a real, untrained model, for the tests of this folder."""

from __future__ import annotations

import threading
import time

import numpy as np
from event_camera_msgs.msg import EventPacket as EventPacketMsg
from rclpy.serialization import serialize_message

from eventspd_ros.events.codecs.evt3 import encode_evt3
from eventspd_ros.events.messages import new_event_packet
from eventspd_ros.events.types import EventArray, EventPacket
from eventspd_ros.inputs.event_intake import EventIntake
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import Predictor
from eventspd_ros.ros.desk import Request
from eventspd_ros.ros.encoder import EncoderThread
from eventspd_ros.ros.messages import new_message
from eventspd_ros.ros.stream import Stream, StreamParts, StreamSettings
from eventspd_ros.ros.workers import Reporter

WIDTH, HEIGHT = 64, 48
PACKET_NS = 4_000_000
# The sensor's clock starts at 0, the host's is at an ordinary date.
ROS_BASE_NS = 1_700_000_000_000_000_000


def make_packets(
    count: int, events_per_packet: int = 400, width: int = WIDTH, height: int = HEIGHT, seed: int = 1
) -> list[EventPacket]:
    """evt3 packets of 4 ms of random events each, stamped with a host clock."""
    rng = np.random.default_rng(seed)
    packets = []
    for seq in range(count):
        start_us = 1_000_000 + seq * PACKET_NS // 1000
        t_us = np.sort(rng.integers(start_us, start_us + PACKET_NS // 1000, events_per_packet))
        events = EventArray(
            rng.integers(0, width, events_per_packet).astype(np.uint16),
            rng.integers(0, height, events_per_packet).astype(np.uint16),
            rng.integers(0, 2, events_per_packet).astype(np.uint8),
            t_us.astype(np.int64) * 1000,
            width,
            height,
        )
        stamp_ns = ROS_BASE_NS + int(events.t_ns[0])
        packets.append(EventPacket("evt3", width, height, np.asarray(encode_evt3(events)), seq, 0, stamp_ns))
    return packets


def to_msg(packet: EventPacket) -> EventPacketMsg:
    """The packet as a driver publishes it."""
    return new_event_packet(new_message, packet)


def serialized(packet: EventPacket) -> bytes:
    return serialize_message(to_msg(packet))


def until(done, what: str = "timed out", timeout_s: float = 30.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


class Log:
    """A logger that keeps its lines."""

    def __init__(self):
        self.lines: list[str] = []

    def _keep(self, text, **_):
        self.lines.append(text)

    debug = info = warning = error = _keep


class Running:
    """A Stream whose answers are kept as (message, Answer, window_ns)."""

    def __init__(
        self,
        max_windows: int = 100,
        model=None,
        encoder: EncoderThread | None = None,
        settings=None,
        poses=None,
        **predictor,
    ):
        self.model = model or build_model("minimal")
        self.log, self.answers, self.faults = Log(), [], []
        self.answered = threading.Condition()
        values = {"fx_px": 60.0, "allow_untrained": True} | predictor

        def make_predictor(height: int, width: int) -> Predictor:
            return Predictor(self.model, height, width, **values)

        def make_intake(on_begin) -> EventIntake:
            return EventIntake(self.model.config, on_begin, reporter)

        reporter = Reporter(self.log)
        self._owns_encoder = encoder is None
        self.encoder = encoder or EncoderThread(max_windows, reporter, self.faults.append)
        parts = StreamParts(make_intake, make_predictor, self._publish, on_fault=self.faults.append, poses=poses)
        self.stream = Stream("", settings or StreamSettings(), parts, self.encoder, reporter)
        if self._owns_encoder:
            self.encoder.start()
        self.stream.start()

    def _publish(self, message, answer, window_ns):
        with self.answered:
            self.answers.append((message, answer, window_ns))
            self.answered.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        assert self.stream.close()
        assert not self._owns_encoder or self.encoder.close()

    def play(self, packets: list[EventPacket]) -> None:
        """Hand over the packets and wait until their windows are encoded."""
        for packet in packets:
            self.stream.put_packet(packet)
        self.settle()

    def settle(self) -> None:
        until(lambda: self.stream.idle and self.encoder.idle, "the stream is stuck")

    def request(self, points, stamp_ns: int, message: object = None, ids=None) -> None:
        points = None if points is None else np.asarray(points, np.float32).reshape(-1, 2)
        self.stream.put_request(Request(message, points, 3 if points is None else len(points), stamp_ns, ids=ids))

    def ask(self, points, stamp_ns: int, message: object = None):
        """One request's answer and its window in ROS time."""
        before = len(self.answers)
        self.request(points, stamp_ns, message)
        with self.answered:
            assert self.answered.wait_for(lambda: len(self.answers) > before, 30), "no answer"
        return self.answers[-1][1:]
