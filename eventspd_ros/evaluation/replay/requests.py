"""What a bag asks, read once and before any model: every keypoint message, and pixels and corners at depth labels.

Requests stand where they came among the event packets, so that offline and online ask at the same place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from eventspd_ros.evaluation.asking.questions import KEYPOINT, UNIFORM, draw_labelled_pixels, event_pixels, near_edges
from eventspd_ros.evaluation.replay.ground_truth import GroundTruth, depth_at
from eventspd_ros.evaluation.replay.packets import PacketReader, readable
from eventspd_ros.evaluation.replay.topics import BagTopics
from eventspd_ros.events.files.rosbag import Bag
from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.events.support import support_ns
from eventspd_ros.events.types import EventWindow
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.predictor import Status
from eventspd_ros.simulation.keypoints import event_corners

CORNER_PERIOD_NS = 33_333_333  # where a bag asks nothing by itself
# Keypoints further from a depth label than this are answered, but not scored.
LABEL_NS = 5_000_000
RECENT_LABELS = 8
FIRST_OWN_ID = 1 << 32  # of points that the replay makes itself: no front-end's 32-bit ids are among them
# That wait for the events of their stamp, each with its depth; more do so only where stamps are of another clock.
MAX_LOOKS = 64


@dataclass(eq=False)
class ReplayRequest:
    """K points that were observed at stamp_ns (ROS time). id: of tracks; those of points that the replay makes itself
    never come again.

    after: how many event packets come before it. arrival_ns: the bag's time at which it comes. kind: uint8 (K,),
    UNIFORM or KEYPOINT. true_m: float32 (K,), NaN where unknown. on_event: bool (K,), whether the window that ends at
    the stamp has an event there. at_edge: bool (K,), near_edges() of the label that was asked. refusal: the status of
    all points where none can be answered.
    """

    stamp_ns: int
    arrival_ns: int
    after: int
    id: np.ndarray
    uv_px: np.ndarray
    kind: np.ndarray
    true_m: np.ndarray
    on_event: np.ndarray
    at_edge: np.ndarray
    refusal: Status | None = None
    label_distance_ns: int = LABEL_NS

    @classmethod
    def of(
        cls, stamp_ns: int, arrival_ns: int, after: int, ids: np.ndarray, uv_px: np.ndarray, kind: np.ndarray, **fields
    ) -> ReplayRequest:
        unknown = np.full(len(ids), np.nan, np.float32)
        uv_px = np.asarray(uv_px, np.float32).reshape(-1, 2)
        marks = np.zeros((2, len(ids)), bool)
        return cls(stamp_ns, arrival_ns, after, ids, uv_px, kind, unknown, *marks, **fields)

    def learn_truth(self, label_ns: int, depth_m: np.ndarray, radius_px: int) -> None:
        """Take the depth of a label that is nearer in time than any before."""
        distance_ns = abs(label_ns - self.stamp_ns)
        if distance_ns <= self.label_distance_ns:
            self.label_distance_ns = distance_ns
            self.true_m = depth_at(depth_m, self.uv_px, radius_px)


@dataclass
class BagQuestions:
    """What was read. labels: depth images or scans. damage: None, or how far the bag could be read and why."""

    requests: list[ReplayRequest] = field(default_factory=list)
    packets: int = 0
    labels: int = 0
    packets_rejected: int = 0
    damage: str | None = None


@dataclass(frozen=True)
class ReplaySettings:
    """How a bag is asked and answered.

    mode: which window answers, as in the node; `covering` gives the same answers offline and online. uniform: pixels
    drawn at a depth label; keypoints: corners where the bag has none. max_wait_ms: how long, in the bag's time, a
    request waits for its window and its pose. max_cache_age_ms, camera_pose, acceleration: as in the node, and so is
    support_filter_ms; corners and what counts as an event are those of all events, so that the same is asked with it.
    by_events: the camera's motion is what the events say, as the node's motion: events.
    """

    mode: str = "covering"
    uniform: int = 512
    keypoints: int = 150
    seed: int = 0
    max_wait_ms: float = 50.0
    max_cache_age_ms: float = 200.0
    camera_pose: str | None = None
    acceleration: str = "auto"
    support_filter_ms: float = 0.0
    by_events: bool = False

    def __post_init__(self) -> None:
        support_ns(self.support_filter_ms)


class _Collector:
    def __init__(
        self,
        topics: BagTopics,
        lens: CameraModel | None,
        truth: GroundTruth | None,
        reader: PacketReader,
        settings: ReplaySettings,
    ):
        self.topics, self.lens, self.truth, self.reader, self.settings = topics, lens, truth, reader, settings
        self.found = BagQuestions()
        self.looks: deque[tuple[int, Callable[[EventWindow | None, int], None]]] = deque()
        self.recent: deque[tuple[int, np.ndarray]] = deque(maxlen=RECENT_LABELS)
        self.asked: deque[ReplayRequest] = deque(maxlen=64)  # keypoints whose label may still come
        self.next_corners_ns: int | None = None
        self.next_id = FIRST_OWN_ID

    def take_packet(self, data: bytes, time_ns: int) -> None:
        self.found.packets += 1
        self.reader.take(data)
        if self.topics.keypoints is None and self.truth is None:
            self._plan_corners(time_ns)
        self.look(time_ns)

    def look(self, time_ns: int, last: bool = False) -> None:
        """Serve what waited for events up to its stamp; the last time also what they never reached."""
        while self.looks:
            stamp_ns, use = self.looks[0]
            if not (last or self.reader.has_reached(stamp_ns) or len(self.looks) > MAX_LOOKS):
                return
            self.looks.popleft()
            use(self.reader.window_before(stamp_ns), time_ns)

    def _plan_corners(self, time_ns: int) -> None:
        reached_ns = self.reader.reached_ns
        if reached_ns is None:
            return
        if self.next_corners_ns is None or abs(reached_ns - self.next_corners_ns) > NS_PER_S:  # another stream
            self.next_corners_ns = reached_ns
        while self.next_corners_ns <= reached_ns:
            stamp_ns = self.next_corners_ns
            self.looks.append((stamp_ns, lambda window, now_ns, s=stamp_ns: self._ask(s, now_ns, window, None)))
            self.next_corners_ns += CORNER_PERIOD_NS

    def take_keypoints(self, message, time_ns: int) -> None:
        points = self.topics.source.read(message, self.lens)
        stamp_ns = time_to_ns(message.header.stamp) or time_ns
        kind = np.full(len(points.id), KEYPOINT, np.uint8)
        request = ReplayRequest.of(
            stamp_ns, time_ns, self.found.packets, points.id, points.uv_px, kind, refusal=points.refusal
        )
        self.found.requests.append(request)
        self.asked.append(request)
        for label_ns, depth_m in self.recent:
            request.learn_truth(label_ns, depth_m, self.truth.radius_px)
        self.looks.append((stamp_ns, lambda window, now_ns: self._mark(request, window)))

    def take_label(self, message, time_ns: int) -> None:
        depth_m = self.truth.depth_m(message)
        stamp_ns = time_to_ns(message.header.stamp)
        for request in self.asked:
            request.learn_truth(stamp_ns, depth_m, self.truth.radius_px)
        self.recent.append((stamp_ns, depth_m))
        number, self.found.labels = self.found.labels, self.found.labels + 1
        self.looks.append((stamp_ns, lambda window, now_ns: self._ask(stamp_ns, now_ns, window, depth_m, number)))

    def _mark(self, request: ReplayRequest, window: EventWindow | None) -> None:
        """Which of its points have an event."""
        if window is not None:
            request.on_event = np.nan_to_num(depth_at(_as_depth(window), request.uv_px, 0)) > 0

    def _ask(
        self,
        stamp_ns: int,
        now_ns: int,
        window: EventWindow | None,
        depth_m: np.ndarray | None,
        number: int = 0,
    ) -> None:
        """Uniform pixels of a label, and corners of the events where the bag has no keypoints."""
        pixels = corners = np.empty((0, 2))
        if depth_m is not None:
            pixels = draw_labelled_pixels(depth_m, self.settings.uniform, (self.settings.seed, number))
        if self.topics.keypoints is None and window is not None:
            corners = event_corners(window, window.height, window.width, self.settings.keypoints)
        if not len(pixels) + len(corners):
            return
        kind = np.repeat(np.array([UNIFORM, KEYPOINT], np.uint8), (len(pixels), len(corners)))
        ids = np.arange(self.next_id, self.next_id + len(kind), dtype=np.uint64)
        self.next_id += len(kind)
        request = ReplayRequest.of(stamp_ns, now_ns, self.found.packets, ids, np.concatenate((pixels, corners)), kind)
        if depth_m is not None:
            request.learn_truth(stamp_ns, depth_m, self.truth.radius_px)
            exact = request.kind == UNIFORM  # drawn where it is known: no need to agree with what is around
            request.true_m[exact] = depth_at(depth_m, request.uv_px[exact], 0)
            request.at_edge[exact] = near_edges(depth_m)[tuple(pixels.T[::-1])]
        self._mark(request, window)
        self.found.requests.append(request)


def among_messages(
    messages: Iterable[tuple[str, int, bytes]], events_topic: str, requests: Sequence[ReplayRequest]
) -> Iterator[tuple[str, int, bytes] | ReplayRequest]:
    """A bag's messages (topic, time, data) in order, with every request at the place where it came."""
    waiting, packets = deque(requests), 0
    for topic, time_ns, data in messages:
        is_packet = topic == events_topic
        while waiting and waiting[0].after <= packets and (is_packet or waiting[0].arrival_ns <= time_ns):
            yield waiting.popleft()
        packets += is_packet
        yield topic, time_ns, data
    yield from waiting


def _as_depth(window: EventWindow) -> np.ndarray:
    """1 where there is an event, NaN elsewhere, float32 (H, W)."""
    return np.where(event_pixels(window), np.float32(1), np.float32(np.nan))


def collect_requests(
    bag: Bag,
    topics: BagTopics,
    reader: PacketReader,
    lens: CameraModel | None,
    truth: GroundTruth | None,
    settings: ReplaySettings,
    progress: Callable[[int], object],
) -> BagQuestions:
    """Reads the bag once. progress(time since start, ns)."""
    collector = _Collector(topics, lens, truth, reader, settings)
    types = {connection.topic: connection.msgtype for connection in bag.connections}
    time_ns = bag.start_ns
    wanted = [topic for topic in (topics.events, topics.keypoints, topics.depth, topics.lidar) if topic]
    for topic, time_ns, data in readable(bag, wanted):
        if topic == topics.events:
            collector.take_packet(data, time_ns)
        else:
            take = collector.take_keypoints if topic == topics.keypoints else collector.take_label
            try:
                take(bag.deserialize(data, types[topic]), time_ns)
            except ValueError as error:  # one message is damaged, or unlike the others
                reader.complaints.error(topic, f"{topic}: a message was left out: {error}")
        progress(time_ns - bag.start_ns)
    collector.look(time_ns, last=True)
    collector.found.damage = bag.damage
    collector.found.packets_rejected = reader.intake.packets_rejected
    if not collector.found.packets:
        raise ValueError(f"{bag.path}: topic {topics.events} holds no message that can be read; record it again")
    return collector.found
