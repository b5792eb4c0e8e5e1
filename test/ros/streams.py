"""Event packets and a stream around a real, untrained model, for the tests of this folder."""

from __future__ import annotations

import threading
import time

import numpy as np

from eventspd_ros.events.codecs.evt3 import encode_evt3
from eventspd_ros.events.types import EventArray, EventPacket
from eventspd_ros.model.presets import build_model
from eventspd_ros.predictor import Predictor
from eventspd_ros.ros.stream import Limits, Request, Stream

WIDTH, HEIGHT = 64, 48
PACKET_NS = 4_000_000
LIMITS = Limits(windows=100, packets=1000, requests=64)
# The sensor's clock starts at 0, the host's is at an ordinary date.
ROS_BASE_NS = 1_700_000_000_000_000_000


def make_packets(
    count: int, events_per_packet: int = 400, width: int = WIDTH, height: int = HEIGHT
) -> list[EventPacket]:
    """evt3 packets of 4 ms of random events each, stamped with a host clock."""
    rng = np.random.default_rng(1)
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


class Log:
    """A logger that keeps its lines."""

    def __init__(self):
        self.lines: list[str] = []

    def _keep(self, text, **_):
        self.lines.append(text)

    debug = info = warning = error = _keep


class Running:
    """A Stream whose answers are kept as (message, Answer, window_ns)."""

    def __init__(self, allow_untrained: bool = True, fx_px: float | None = 60.0, limits: Limits = LIMITS):
        self.model = build_model("minimal")
        self.log, self.answers = Log(), []
        self.answered = threading.Condition()

        def make_predictor(height: int, width: int) -> Predictor:
            return Predictor(self.model, height, width, fx_px, allow_untrained=allow_untrained)

        self.stream = Stream(make_predictor, limits, self._publish, self.log)

    def _publish(self, message, answer, window_ns):
        with self.answered:
            self.answers.append((message, answer, window_ns))
            self.answered.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def play(self, packets: list[EventPacket]) -> None:
        """Hand over the packets and wait until their windows are encoded."""
        for packet in packets:
            self.stream.put_packet(packet)
        deadline = time.monotonic() + 60
        while not (self.stream._packets.idle and self.stream._windows.idle):
            assert time.monotonic() < deadline, "the stream is stuck"
            time.sleep(0.005)

    def ask(self, points, stamp_ns: int, message: object = None):
        """One request's answer and its window in ROS time."""
        before = len(self.answers)
        points = None if points is None else np.asarray(points, np.float32).reshape(-1, 2)
        self.stream.put_request(Request(message, points, 3 if points is None else len(points), stamp_ns))
        with self.answered:
            assert self.answered.wait_for(lambda: len(self.answers) > before, 30), "no answer"
        return self.answers[-1][1:]
