"""THE STORY of the simulation: a camera moves through a scene, its pixels make events, a front-end tracks keypoints.

`simulate_stream` yields events, `simulate_recording` everything a bag holds, in the order of its arrival. One seed
decides all of it, whatever the number of threads.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from eventspd_ros.cores import cores
from eventspd_ros.events.codecs.evt3 import encode_evt3
from eventspd_ros.events.types import EventArray, EventPacket
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.simulation.camera import Path, PinholeCamera, Pose, handheld
from eventspd_ros.simulation.event_sensor import TICK_NS, EventSensor, EventSensorConfig
from eventspd_ros.simulation.keypoints import KeypointTracker, TrackedKeypoints
from eventspd_ros.simulation.odometry import OdometryConfig, OdometryMessage, odometry_messages
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scenes import Scene, hall
from eventspd_ros.simulation.variety import AS_IT_IS, Drawn
from eventspd_ros.simulation.worlds import make_world

CHUNK_NS = 4_000_000  # a packet every 4 ms
LARGEST_SHIFT_PX = 0.9  # between two views; below 1 px, as speed may vary a little inside a chunk
CORNER_MEMORY_NS = 30_000_000  # keypoints start at corners of the events of this time


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """What to simulate. duration_s: length; start_ns: ROS time at which the sensor's clock reads 0.

    domain: one of worlds.DOMAINS, or boards, a small scene for tests. threads: render ahead; None: one a core. how: in
    what the scene is other than its domain's own; focal and sensor are camera's and sensor's already.
    """

    camera: PinholeCamera = field(default_factory=lambda: PinholeCamera.centred(346, 260))
    duration_s: float = 3.0
    seed: int = 0
    sensor: EventSensorConfig = field(default_factory=EventSensorConfig)
    keypoint_hz: float = 30.0
    max_keypoints: int = 150
    start_ns: int = 1_700_000_000_000_000_000
    domain: str = "boards"
    threads: int | None = None
    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    how: Drawn = AS_IT_IS

    def __post_init__(self) -> None:
        if not self.duration_s * NS_PER_S >= CHUNK_NS:
            raise ValueError(f"duration_s {self.duration_s}: must be at least {CHUNK_NS / NS_PER_S} s, one packet")
        if not self.keypoint_hz > 0:
            raise ValueError(f"keypoint_hz {self.keypoint_hz}: must be positive")

    @property
    def chunks(self) -> int:
        """How many chunks of 4 ms the simulation has; a last, shorter one is not made."""
        return round(self.duration_s * NS_PER_S) // CHUNK_NS


@dataclass(frozen=True, slots=True)
class World:
    """A scene and the camera's path through it."""

    scene: Scene
    trajectory: Path

    @classmethod
    def of(cls, config: SimulationConfig) -> World:
        """The world of a configuration's domain, seed and duration."""
        if config.domain == "boards":
            return cls.from_seed(config.seed)
        return cls(*make_world(config.domain, config.seed, config.duration_s, config.how))

    @classmethod
    def from_seed(cls, seed: int) -> World:
        """A hall with boards, and a hand that holds the camera in it."""
        return cls(hall(np.random.default_rng([seed, 0])), handheld(np.random.default_rng([seed, 1])))

    def pose(self, t_ns: int) -> Pose:
        """The camera's pose at a time of the sensor's clock."""
        return self.trajectory.pose(t_ns / NS_PER_S)


@dataclass(frozen=True, slots=True)
class Chunk:
    """events: those with start_ns <= t_ns < end_ns (sensor clock), sorted by time; pose: the camera's at end_ns."""

    events: EventArray
    start_ns: int
    end_ns: int
    pose: Pose


@dataclass(frozen=True, slots=True)
class Observation:
    """A front-end's moment. stamp_ns: ROS time; depth_m: (H, W) float32, exact, NaN where there is nothing."""

    stamp_ns: int
    keypoints: TrackedKeypoints
    depth_m: np.ndarray


@dataclass(frozen=True, slots=True)
class Recording:
    """arrival_ns: ROS time at which the message reaches the computer; message: packet, observation or pose."""

    arrival_ns: int
    message: EventPacket | Observation | OdometryMessage


def simulate_stream(config: SimulationConfig, world: World | None = None) -> Iterator[Chunk]:
    """Chunks of 4 ms, one after the other without gaps. world: World.of(config) if not given."""
    world = world or World.of(config)
    renderer = Renderer(world.scene, config.camera)
    sensor_rng = np.random.default_rng([config.seed, 2])
    sensor = EventSensor(config.sensor, renderer.render(world.pose(0), 0.0).log_intensity, 0, sensor_rng)
    starts = range(0, config.chunks * CHUNK_NS, CHUNK_NS)
    rendered = _ahead(lambda t_ns: views_of_chunk(renderer, world, t_ns), starts, config.threads)
    for start_ns, views in zip(starts, rendered, strict=True):
        steps = [sensor.step(log_intensity, t_ns) for t_ns, log_intensity in views]
        end_ns = start_ns + CHUNK_NS
        yield Chunk(concatenate(steps), start_ns, end_ns, world.pose(end_ns))


def views_of_chunk(renderer: Renderer, world: World, start_ns: int) -> list[tuple[int, np.ndarray]]:
    """The views (time ns, log intensity) that follow start_ns, close enough that nothing moves more than a pixel."""
    end_ns, ticks = start_ns + CHUNK_NS, CHUNK_NS // TICK_NS
    last = renderer.render(world.pose(end_ns), end_ns / NS_PER_S)
    shifts = renderer.largest_shift_px(last, world.pose(start_ns), start_ns / NS_PER_S) / LARGEST_SHIFT_PX
    count = math.ceil(min(max(shifts, 1.0), ticks))
    times_ns = start_ns + TICK_NS * (np.arange(1, count) * ticks // count)
    views = [(t_ns, renderer.render(world.pose(t_ns), t_ns / NS_PER_S).log_intensity) for t_ns in times_ns.tolist()]
    return [*views, (end_ns, last.log_intensity)]


def simulate_recording(config: SimulationConfig, world: World | None = None) -> Iterator[Recording]:
    """Packets, observations and poses in order of arrival: a packet when its 4 ms are over, an observation at its
    stamp, a pose as config.odometry says, ahead of what comes at the same time.

    A packet's stamp is the ROS time of its first event, so the sensor's clock is exactly start_ns behind ROS time.
    Chunks without events send no packet.
    """
    world = world or World.of(config)
    rng, end_ns = np.random.default_rng([config.seed, 4]), config.chunks * CHUNK_NS
    told = odometry_messages(world.pose, end_ns, config.odometry, rng, config.start_ns)
    poses = (Recording(*item) for item in told)
    return heapq.merge(poses, _camera_recording(config, world), key=lambda item: item.arrival_ns)


def _camera_recording(config: SimulationConfig, world: World) -> Iterator[Recording]:
    """Packets and observations."""
    renderer = Renderer(world.scene, config.camera)
    tracker = KeypointTracker(renderer, np.random.default_rng([config.seed, 3]), config.max_keypoints)
    recent: deque[EventArray] = deque(maxlen=CORNER_MEMORY_NS // CHUNK_NS)
    next_observation, seq, last_ns = 1, 0, None
    for chunk in simulate_stream(config, world):
        recent.append(chunk.events)
        while (t_ns := observation_time_ns(config, next_observation)) <= chunk.end_ns:
            pose = world.pose(t_ns)
            past = concatenate([before(events, t_ns) for events in recent])
            keypoints, depth_m = tracker.observe(past, pose, t_ns / NS_PER_S), renderer.depth_m(pose, t_ns / NS_PER_S)
            observation = Observation(config.start_ns + t_ns, keypoints, depth_m)
            yield Recording(observation.stamp_ns, observation)
            next_observation += 1
        if len(chunk.events):
            yield Recording(config.start_ns + chunk.end_ns, packet(chunk.events, seq, config.start_ns, last_ns))
            seq, last_ns = seq + 1, int(chunk.events.t_ns[-1])


def observation_time_ns(config: SimulationConfig, index: int) -> int:
    """Sensor time of the index-th observation; number 0, at time 0, has no events behind it and is not made."""
    return round(index * NS_PER_S / config.keypoint_hz)


def packet(events: EventArray, seq: int, start_ns: int, previous_ns: int | None) -> EventPacket:
    """An evt3 packet. previous_ns: the last event of the packet before."""
    payload = encode_evt3(events, previous_ns)
    stamp_ns = start_ns + int(events.t_ns[0])
    return EventPacket("evt3", events.width, events.height, payload, seq=seq, stamp_ns=stamp_ns)


def concatenate(parts: list[EventArray]) -> EventArray:
    """Events of one sensor, one part after the other."""
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "p", "t_ns"))
    return EventArray(*columns, parts[0].width, parts[0].height)


def before(events: EventArray, t_ns: int) -> EventArray:
    """The events earlier than t_ns."""
    n = int(np.searchsorted(events.t_ns, t_ns))
    return EventArray(events.x[:n], events.y[:n], events.p[:n], events.t_ns[:n], events.width, events.height)


def _ahead(work: Callable, items: range, threads: int | None) -> Iterator:
    """work(item) for every item, in order, computed by threads (None: one a core) that run a little ahead."""
    threads = threads or cores()
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the caller stops early
            for future in waiting:
                future.cancel()
