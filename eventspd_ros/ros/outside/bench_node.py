"""`eventspd bench node`: how many events a second the whole node bears, over DDS as on a robot.

This process is camera and front-end, the node is another one. The camera's packets are evt3, each of one tick of the
format's TIME_HIGH (4.096 ms), with events uniform in space and time: the format's worst case, about 4.5 bytes an event.
They are made once; what a driver would write anew, it writes: stamp, number and upper bits of the time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import rclpy
import torch
from event_camera_msgs.msg import EventPacket as EventPacketMsg

from eventspd_ros.benchmark.machine import conditions
from eventspd_ros.benchmark.timing import spread
from eventspd_ros.events.codecs.evt3 import TIME_HIGH, encode_evt3
from eventspd_ros.events.messages import new_event_packet, new_header, new_keypoints, time_to_ns
from eventspd_ros.events.types import EventArray, EventPacket
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S, NS_PER_US
from eventspd_ros.predictor import Status
from eventspd_ros.ros.messages import EVENTS_QOS, KEYPOINTS_QOS, new_message, ns_to_time
from eventspd_ros.ros.outside.node_under_test import NodeUnderTest, driving, stages_ms

TICK_NS = 4_096_000
DISTINCT_PACKETS = 8
FIRST_RATE, LAST_RATE = 250_000, 64_000_000
KEYPOINTS, REQUEST_NS = 256, 33_333_333
# An answer that comes after the front-end's next frame, or without depths, is late.
LATE_MS = 33.333
MAX_LATE_SHARE, MIN_SENT_SHARE = 0.01, 0.97
WARM_UP_S, LAST_ANSWERS_S = 2.0, 2.0
COUNTERS = ("windows_encoded", "windows_dropped", "packets_dropped", "packets_lost_before_node")


def packets_of(rate_hz: float, height: int, width: int, seed: int = 0) -> list[EventPacketMsg]:
    """Messages of rate_hz events a second, all of tick 0."""
    rng, count = np.random.default_rng(seed), round(rate_hz * TICK_NS / NS_PER_S)
    packets = []
    for _ in range(DISTINCT_PACKETS):
        x, y = (rng.integers(0, limit, count).astype(np.uint16) for limit in (width, height))
        t_ns = np.sort(rng.integers(0, TICK_NS // NS_PER_US, count)) * NS_PER_US
        events = EventArray(x, y, rng.integers(0, 2, count).astype(np.uint8), t_ns, width, height)
        packet = EventPacket("evt3", width, height, encode_evt3(events))
        packets.append(new_event_packet(new_message, packet))
    return packets


def set_tick(packet: EventPacketMsg, tick: int, seq: int, stamp_ns: int) -> None:
    """Make it the packet of that tick of the sensor's clock, which began at stamp_ns."""
    packet.seq, packet.header.stamp = seq, ns_to_time(stamp_ns)
    np.frombuffer(packet.events, np.uint16)[0] = TIME_HIGH << 12 | tick & 0xFFF


@dataclass
class Tally:
    """What came of the requests of one rate. answer_ms: request to answer; window_age_ms: end of the window that
    answers to answer, of those with depths."""

    asked: int = 0
    late: int = 0
    answer_ms: list[float] = field(default_factory=list)
    window_age_ms: list[float] = field(default_factory=list)

    def take(self, answer: KeypointDepthArray, sent_s: float) -> None:
        answer_ms = 1e3 * (time.monotonic() - sent_s)
        has_depth = bool(np.all(np.asarray(answer.status) == Status.OK))
        self.answer_ms.append(answer_ms)
        self.late += answer_ms > LATE_MS or not has_depth
        if has_depth:
            self.window_age_ms.append((time.time_ns() - time_to_ns(answer.window_end)) / NS_PER_MS)

    @property
    def unanswered(self) -> int:
        return self.asked - len(self.answer_ms)

    @property
    def late_share(self) -> float:
        return (self.late + self.unanswered) / max(self.asked, 1)


class BenchCamera(NodeUnderTest):
    """The camera, the front-end and their clock; one thread."""

    def __init__(self, height: int, width: int):
        super().__init__("eventspd_bench")
        rng = np.random.default_rng(0)
        uv = rng.random((2, KEYPOINTS), np.float32) * np.array([[width - 1], [height - 1]], np.float32)
        self.request = new_keypoints(new_message, new_header(new_message, 0), np.arange(KEYPOINTS), uv.T)
        self._events = self.create_publisher(EventPacketMsg, "events", EVENTS_QOS)
        self._keypoints = self.create_publisher(KeypointArray, "keypoints", KEYPOINTS_QOS)
        self._waiting: deque[tuple[int, float, Tally | None]] = deque()  # stamp, sent, where it counts
        self._seq = 0
        self._start_ns = time.time_ns()  # when the sensor's clock read 0

    def wait_until_heard(self) -> None:
        self.wait_until_connected(self._events, self._keypoints)

    def stream(self, packets: list[EventPacketMsg], seconds: float, tally: Tally | None) -> float:
        """Packets and requests, each when it is due; returns how many packets a second went out. A tick that was
        missed is made up for at once, as a driver's buffer would."""
        now_ns = time.time_ns()
        tick, first_seq, start_s = (now_ns - self._start_ns) // TICK_NS, self._seq, time.monotonic()
        end_ns, request_ns = now_ns + round(seconds * NS_PER_S), now_ns
        while now_ns < end_ns:
            stamp_ns = self._start_ns + tick * TICK_NS
            due_ns = stamp_ns + TICK_NS  # a packet goes out after its last event
            if now_ns >= due_ns:
                packet = packets[self._seq % len(packets)]
                set_tick(packet, tick, self._seq, stamp_ns)
                self._events.publish(packet)
                tick, self._seq = tick + 1, self._seq + 1
                due_ns += TICK_NS
            if now_ns >= request_ns:
                self._ask(now_ns, tally)
                request_ns += REQUEST_NS
            wait_ns = min(due_ns, request_ns) - time.time_ns()
            self.spin_once(max(wait_ns, 0) / NS_PER_S)
            now_ns = time.time_ns()
        return (self._seq - first_seq) / (time.monotonic() - start_s)

    def last_answers(self) -> None:
        self.spin_until(lambda: not self._waiting, LAST_ANSWERS_S)
        self._waiting.clear()

    def _ask(self, now_ns: int, tally: Tally | None) -> None:
        self.request.header.stamp = ns_to_time(now_ns)
        self._waiting.append((now_ns, time.monotonic(), tally))
        if tally is not None:
            tally.asked += 1
        self._keypoints.publish(self.request)

    def _on_answer(self, answer: KeypointDepthArray) -> None:
        stamp_ns = time_to_ns(answer.header.stamp)
        while self._waiting and self._waiting[0][0] <= stamp_ns:
            asked_ns, sent_s, tally = self._waiting.popleft()
            if asked_ns == stamp_ns and tally is not None:
                tally.take(answer, sent_s)


def bench_node(
    preset: str,
    sensor_hw: tuple[int, int],
    repetitions: int = 3,
    device: str = "auto",
    seconds: float = 5.0,
    rates: tuple[int, ...] | None = None,
    progress: Callable[[int], object] = lambda rate: None,
) -> dict:
    """Double the event rate from 0.25 million a second on until more than 1 % of the answers are late, or until this
    process cannot send that many.

    256 keypoints are asked for 30 times a second, in mode `latest`; the preset has fresh weights. An answer is late
    where it comes after the next request was due, has points without depth, or never comes. Each rate is measured
    `repetitions` times for `seconds`, each after a warm-up of 2 s. max_events_per_second: the highest rate that was
    borne, 0 where none was. rates: the rates instead, all measured. progress(rate): called before each.
    """
    height, width = sensor_hw
    if repetitions < 1 or not seconds > 0:
        raise ValueError(f"repetitions = {repetitions}, seconds = {seconds}: both must be positive")
    parameters = {
        "weights": "",
        "preset": preset,
        "device": device,
        "allow_untrained": True,
        "sensor_width": width,
        "sensor_height": height,
        "fx_px": float(width),
    }
    digest = hashlib.sha256()
    found: dict[str, dict] = {}
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))  # no robot's topics, no other node's answers
    with driving(lambda: BenchCamera(height, width), parameters) as camera:
        camera.wait_until_heard()
        camera.spin_until(lambda: False, 1.0)
        for rate in rates or doubled():
            progress(rate)
            packets = packets_of(rate, height, width)
            if not found:
                for packet in packets:
                    digest.update(packet.events)
            row = measure(camera, packets, rate, seconds, repetitions)
            found[str(rate)] = row
            if rates is None and not is_borne(rate, row):
                break
        device_name = camera.diagnostics.get("device", device)
    borne = [int(rate) for rate, row in found.items() if is_borne(int(rate), row)]
    return {
        "bench": "node",
        "preset": preset,
        "sensor": f"{width}x{height}",
        "encoding": "evt3",
        "max_events_per_second": max(borne, default=0),
        "rates": found,
        "keypoints": KEYPOINTS,
        "request_rate_hz": 30,
        "packet_rate_hz": round(NS_PER_S / TICK_NS, 1),
        "late_after_ms": LATE_MS,
        "seconds": seconds,
        "repetitions": repetitions,
        "warm_up_s": WARM_UP_S,
        "input_sha256": digest.hexdigest(),
        "device": device_name,
        "middleware": rclpy.get_rmw_implementation_identifier(),
        **conditions(torch, np),
    }


def doubled() -> list[int]:
    rates = [FIRST_RATE]
    while 2 * rates[-1] <= LAST_RATE:
        rates.append(2 * rates[-1])
    return rates


def is_borne(rate_hz: float, row: dict) -> bool:
    """Whether the rate was really sent, and at most 1 % of the answers were late."""
    return row["sent_events_per_second"] >= MIN_SENT_SHARE * rate_hz and row["late_share"] <= MAX_LATE_SHARE


def measure(
    camera: BenchCamera, packets: list[EventPacketMsg], rate_hz: float, seconds: float, repetitions: int
) -> dict:
    """One rate. stages_ms: the node's own, of its last thousand; the counters: of warm-ups too."""
    tally, sent, before = Tally(), [], camera.next_diagnostics()
    for _ in range(repetitions):
        camera.stream(packets, WARM_UP_S, None)
        sent.append(camera.stream(packets, seconds, tally))
        camera.last_answers()
    after = camera.next_diagnostics()
    counted = {name: int(after.get(name, 0)) - int(before.get(name, 0)) for name in COUNTERS}
    packet_events = round(rate_hz * TICK_NS / NS_PER_S)
    return {
        "sent_events_per_second": round(float(np.median(sent)) * packet_events),
        "bytes_per_event": round(len(packets[0].events) / max(packet_events, 1), 2),
        "requests": tally.asked,
        "unanswered": tally.unanswered,
        "late_share": round(tally.late_share, 4),
        "answer_ms": spread(tally.answer_ms) if tally.answer_ms else None,
        "window_age_ms": spread(tally.window_age_ms) if tally.window_age_ms else None,
        **counted,
        "stages_ms": stages_ms(after),
    }
