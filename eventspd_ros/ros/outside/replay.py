"""A replay's requests through the real node over DDS: the bag's events are played, the requests asked where they came.

At a rate the bag is played as fast as that says, and what the node is too slow for it drops, as on a robot. At rate 0
the node sets the pace: nothing after a request's last possible moment is played before its answer is there, so that
nothing is dropped on however slow a machine, and the answers of mode `covering` are those of the offline replay.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo

from eventspd_ros.evaluation.replay.offline import ReplayAnswer
from eventspd_ros.evaluation.replay.packets import readable
from eventspd_ros.evaluation.replay.requests import ReplayRequest, among_messages
from eventspd_ros.evaluation.replay.session import (
    BagCalibration,
    MethodAnswers,
    Progress,
    ReplaySession,
    method_names,
)
from eventspd_ros.evaluation.replay.topics import BagTopics
from eventspd_ros.events.files.rosbag import Bag, open_bag
from eventspd_ros.events.messages import new_header, new_keypoints, time_to_ns
from eventspd_ros.inputs.answers import answer_from_message
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from eventspd_ros.nanoseconds import NS_PER_MS, NS_PER_S
from eventspd_ros.predictor import Answer, QueryMode
from eventspd_ros.ros.messages import (
    CAMERA_INFO_QOS,
    EVENTS_QOS,
    KEYPOINTS_QOS,
    event_input,
    message_class,
    new_message,
    ns_to_time,
)
from eventspd_ros.ros.outside.node_under_test import NodeUnderTest, driving, motion_parameters, stages_ms
from eventspd_ros.ros.parameters import BY_EVENTS

PREFIX = "/eventspd_replay"  # topics of its own: a robot's node in this domain hears none of it
CLOCK_PERIOD_S = 0.01
LAST_ANSWERS_S = 20.0
# At rate 0: an empty request so often, whose answer says how far the node is; a wait that ends only in a silence.
PROBE_NS = 20_000_000
PATIENT_WAIT_MS = 10_000.0
PATIENT_WINDOWS = 100
CLOCK_LAG_NS = 100_000_000
STUCK_S = 60.0
NO_POINTS = np.empty(0, np.uint64), np.empty((0, 2), np.float32)


class Asker(NodeUnderTest):
    """Plays and asks in one process; an answer belongs to the oldest request without one."""

    def __init__(self, session: ReplaySession):
        super().__init__("eventspd_replay")
        self.session = session
        self.events_type = event_input(session.topics.events_type).message_type
        self.clock = self.create_publisher(Clock, "/clock", 10)
        self.events: Publisher = self.create_publisher(self.events_type, f"{PREFIX}/events", EVENTS_QOS)
        self.camera_info = self.create_publisher(CameraInfo, f"{PREFIX}/camera_info", CAMERA_INFO_QOS)
        self.keypoints = self.create_publisher(KeypointArray, f"{PREFIX}/keypoints", KEYPOINTS_QOS)
        self.poses: Publisher | None = None
        if session.topics.poses and session.topics.poses_type:
            self.poses = self.create_publisher(message_class(session.topics.poses_type), f"{PREFIX}/poses", 1000)
        # Request (None: a probe), arrival ns, sent s.
        self.open: deque[tuple[ReplayRequest | None, int, float]] = deque()
        self.given: dict[int, ReplayAnswer] = {}
        self.latencies_s: list[float] = []

    def wait_until_heard(self) -> None:
        publishers = (self.clock, self.events, self.camera_info, self.keypoints, self.poses)
        self.wait_until_connected(*(publisher for publisher in publishers if publisher is not None))

    def play(self, topic: str, data: bytes) -> None:
        """A message of the bag, on a topic of its own."""
        topics = self.session.topics
        publishers = {topics.events: self.events, topics.camera_info: self.camera_info}
        if self.poses is not None:
            publishers[topics.poses] = self.poses
        publishers[topic].publish(data)

    def ask(self, request: ReplayRequest | None, arrival_ns: int) -> None:
        points = (request.id, request.uv_px) if request else NO_POINTS
        header = new_header(new_message, request.stamp_ns if request else arrival_ns, "replay")
        self.open.append((request, arrival_ns, time.monotonic()))
        self.keypoints.publish(new_keypoints(new_message, header, *points))

    def _on_answer(self, msg: KeypointDepthArray) -> None:
        if not self.open:
            return  # of somebody else's request
        request, _, sent_s = self.open.popleft()
        if request is None:
            return
        if len(msg.id) != len(request.id) or time_to_ns(msg.header.stamp) != request.stamp_ns:
            raise ValueError(f"an answer of {len(msg.id)} points to another request; does a second node run?")
        self.latencies_s.append(time.monotonic() - sent_s)
        self.given[id(request)] = ReplayAnswer(*answer_from_message(msg))


def replay_online(
    session: ReplaySession, weights: Sequence[Path], rate: float, device: str, progress: Progress | None = None
) -> list[MethodAnswers]:
    """Answers and, as counters, the node's losses and latencies. rate: 1 as recorded; 0: as fast as the node answers.

    ValueError, one line: several weights, a rate or mode that does not go, or the node ended.
    """
    if len(weights) != 1:
        raise ValueError(f"--online with {len(weights)} weights; the node has one model, replay them one by one")
    if not 0 <= rate <= 1000:
        raise ValueError(f"--rate {rate}: 1 is as recorded, 0 as fast as the node answers")
    if rate == 0 and session.settings.mode == QueryMode.LATEST:
        raise ValueError("--rate 0 waits for the window of each request; choose --query-mode covering or exact")
    parameters = _node_parameters(session, weights[0], device, patient=rate == 0)
    with driving(lambda: Asker(session), parameters, _remappings(session.topics)) as asker:
        asker.wait_until_heard()
        _play(asker, rate, progress)
        asker.next_diagnostics()
    return [_answered(asker, weights[0])]


def _node_parameters(session: ReplaySession, weights: Path, device: str, patient: bool) -> dict[str, object]:
    settings = session.settings
    parameters = {
        "weights": str(weights),
        "device": device,
        "acceleration": settings.acceleration,
        "events_type": session.topics.events_type,
        "allow_untrained": True,
        "use_sim_time": True,
        "sensor_width": session.width,
        "sensor_height": session.height,
        "fx_px": _own_focal_length_px(session.calibration),
        "query_mode": settings.mode,
        "max_cache_age_ms": settings.max_cache_age_ms,
        "max_wait_ms": PATIENT_WAIT_MS if patient else settings.max_wait_ms,
        "support_filter_ms": settings.support_filter_ms,
    }
    if patient:
        parameters["max_waiting_windows"] = PATIENT_WINDOWS
    if session.settings.camera_pose:
        parameters["camera_pose"] = session.settings.camera_pose
    if settings.by_events:
        return parameters | {"motion": BY_EVENTS}
    return parameters | motion_parameters(session.topics)


def _remappings(topics: BagTopics) -> dict[str, str]:
    own = {name: f"{PREFIX}/{name}" for name in ("events", "camera_info", "keypoints")}
    return own | ({topics.motion: f"{PREFIX}/poses"} if topics.poses else {})


def _own_focal_length_px(calibration: BagCalibration) -> float:
    """Where camera_info has another one, or none; else 0, so that the node's lens is from the first the bag's."""
    lens, fx_px = calibration.lens, calibration.fx_px or 0.0
    return 0.0 if lens is not None and lens.fx_px == fx_px else float(fx_px)


def _play(asker: Asker, rate: float, progress: Progress | None) -> None:
    """The bag's messages in order, with /clock, and every request after its packet."""
    session = asker.session
    pace = _Paced(asker) if rate == 0 else _Timed(asker, rate)
    asked = [request for request in session.found.requests if request.refusal is None]
    topics = [topic for topic in (session.topics.events, session.topics.camera_info, session.topics.poses) if topic]
    with open_bag(session.path) as bag:
        if (session.topics.poses or session.settings.by_events) and session.topics.camera_info:
            _teach_lens(asker, bag, session.topics.camera_info)
        for item in among_messages(readable(bag, topics), session.topics.events, asked):
            if isinstance(item, ReplayRequest):
                pace.wait(item.arrival_ns)
                asker.ask(item, item.arrival_ns)
                continue
            topic, time_ns, data = item
            pace.wait(time_ns)
            asker.play(topic, data)
            pace.sent(topic, time_ns)
            if progress is not None and pace.first_ns is not None:
                progress("playing", time_ns - pace.first_ns, session.duration_ns)
    pace.finish()


def _teach_lens(asker: Asker, bag: Bag, topic: str) -> None:
    """Ahead of all, as the offline replay has it from the start: motion is of rays, and keeps no event without them."""
    _, _, data = next(readable(bag, [topic]))
    asker.camera_info.publish(data)
    asker.spin_until(lambda: asker.diagnostics.get("has_lens") == "True", STUCK_S)


def _is_past(until_s: float) -> bool:
    return time.monotonic() >= until_s


class _Timed:
    """At a rate: everything when it is due."""

    def __init__(self, asker: Asker, rate: float):
        self._asker, self._rate = asker, rate
        self._start_s = self._ticked_s = 0.0
        self.first_ns: int | None = None

    def wait(self, time_ns: int) -> None:
        """Until that time of the bag, with the clock ticking and answers heard. It begins with the first call: what a
        bag takes to be opened would make its first events late, and all due at once."""
        if self.first_ns is None:
            self.first_ns, self._start_s = time_ns, time.monotonic()
        first_ns = self.first_ns
        due_s = self._start_s + (time_ns - first_ns) / NS_PER_S / self._rate
        while True:
            self._tick(first_ns, time_ns)
            left_s = due_s - time.monotonic()
            if left_s <= 0:
                return
            until_s = time.monotonic() + min(left_s, CLOCK_PERIOD_S)
            self._asker.spin_until(partial(_is_past, until_s), left_s)

    def _tick(self, first_ns: int, latest_ns: int) -> None:
        """Tell the time, not with every message: each costs the node as much as a pose."""
        now_s = time.monotonic()
        if now_s - self._ticked_s >= CLOCK_PERIOD_S:
            self._ticked_s = now_s
            passed_ns = round((now_s - self._start_s) * NS_PER_S * self._rate)
            self._asker.clock.publish(Clock(clock=ns_to_time(min(first_ns + passed_ns, latest_ns))))

    def sent(self, topic: str, time_ns: int) -> None:
        pass

    def finish(self) -> None:
        """The node answers what is open within max_wait_ms."""
        self._asker.spin_until(lambda: not self._asker.open, LAST_ANSWERS_S)


class _Paced:
    """At rate 0: no message is played before the requests that can wait no longer for it are answered.

    The clock stays behind the events: ahead of events that are still on their way it would tell the node of a silence,
    and the node would close windows that are not complete. It catches up where an answer does not come, as then the
    silence is real.
    """

    def __init__(self, asker: Asker):
        self._asker = asker
        self._patience_ns = round(asker.session.settings.max_wait_ms * NS_PER_MS)
        self.first_ns: int | None = None
        self._probed_ns = self._last_ns = self._told_ns = 0
        self._begun: set[str] = set()

    def wait(self, time_ns: int) -> None:
        if self.first_ns is None:
            self.first_ns = self._probed_ns = time_ns
        self._last_ns = time_ns
        self._tell(time_ns - CLOCK_LAG_NS - self._patience_ns)
        while (deadline_ns := self._deadline_ns()) is not None and deadline_ns <= time_ns:
            self._serve(deadline_ns)

    def finish(self) -> None:
        """Wait for what is open still."""
        while self._asker.open:
            self._serve(self._last_ns)

    def sent(self, topic: str, time_ns: int) -> None:
        """After the first packet wait until the node knows the sensor's clock, after the first pose until it knows
        that they come; later ask how far it is."""
        asker, topics = self._asker, self._asker.session.topics
        if topic not in self._begun:
            self._begun.add(topic)
            if topic == topics.events:
                self._until(lambda: "clock_offset_ms" in asker.diagnostics)
            elif topic == topics.poses:
                self._until(lambda: asker.diagnostics.get("poses", "0") != "0")
        if not asker.open and time_ns - self._probed_ns >= PROBE_NS:
            self._probed_ns = time_ns
            asker.ask(None, time_ns)

    def _deadline_ns(self) -> int | None:
        """When the oldest open request waits no longer, bag time."""
        return self._asker.open[0][1] + self._patience_ns if self._asker.open else None

    def _serve(self, now_ns: int) -> None:
        """Wait for the oldest open request; where it seems to wait for events that do not come, say what time it is."""
        oldest, asker = self._asker.open[0], self._asker

        def answered() -> bool:
            return not asker.open or asker.open[0] is not oldest

        asker.spin_until(answered, 0.5e-3 * PATIENT_WAIT_MS)
        if not answered():
            self._tell(now_ns)
            self._until(answered)

    def _tell(self, now_ns: int) -> None:
        self._told_ns = max(now_ns, self._told_ns)  # a clock that falls is another recording
        self._asker.clock.publish(Clock(clock=ns_to_time(self._told_ns)))

    def _until(self, done) -> None:
        self._asker.spin_until(done, STUCK_S)
        if not done():
            raise ValueError(f"eventspd_node gave no answer for {STUCK_S:.0f} s; see its messages above")


def _answered(asker: Asker, weights: Path) -> MethodAnswers:
    """The answers in the requests' order; what was refused when it was read never reached the node."""
    session, diagnostics = asker.session, asker.diagnostics
    answers = []
    for request in session.found.requests:
        given = asker.given.get(id(request))
        if given is None:
            if request.refusal is None:
                raise ValueError(
                    f"{len(asker.open)} requests were not answered in {LAST_ANSWERS_S:.0f} s; lower the --rate"
                )
            given = ReplayAnswer(Answer.refused(len(request.id), request.refusal), (0, 0))
        answers.append(given)
    latencies = 1e3 * np.array(asker.latencies_s)
    counted = ("windows_encoded", "windows_dropped", "packets_dropped", "packets_lost_before_node", "requests_expired")
    counters: dict = {name: int(diagnostics.get(name, 0)) for name in counted}
    counters |= {name: int(n) for name, n in diagnostics.items() if name.startswith(("poses", "answers_without"))}
    counters["latency_ms"] = {
        f"p{q}": round(float(np.percentile(latencies, q)), 2) if len(latencies) else None for q in (50, 95, 99)
    }
    counters["stages_ms"] = stages_ms(diagnostics)
    trained = diagnostics.get("trained") == "True"
    return MethodAnswers(method_names([weights])[0], weights, trained, answers, counters)
