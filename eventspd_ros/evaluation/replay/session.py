"""THE STORY of a replay: a bag's topics and calibration, what it asks, who answers, and how good the answers are.

What `eventspd replay` runs; ros/outside/replay.py answers the same requests through the node. docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from eventspd_ros import __version__
from eventspd_ros.evaluation.asking.partial import Partial, fingerprint
from eventspd_ros.evaluation.replay.ground_truth import DepthImages, GroundTruth, LidarDepth
from eventspd_ros.evaluation.replay.motion import BagMotion
from eventspd_ros.evaluation.replay.offline import OfflineReplay, ReplayAnswer
from eventspd_ros.evaluation.replay.packets import PacketReader
from eventspd_ros.evaluation.replay.requests import BagQuestions, ReplaySettings, collect_requests
from eventspd_ros.evaluation.replay.topics import BagTopics, TopicNames, choose_topics, first_message, read_lens
from eventspd_ros.events.files import open_events
from eventspd_ros.events.files.rosbag import Bag, open_bag
from eventspd_ros.inputs.camera_model import CameraModel, focal_length_px
from eventspd_ros.inputs.odometry import PoseSource
from eventspd_ros.model.acceleration import accelerate
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.threads import half_of_the_cores
from eventspd_ros.predictor import Predictor, exact_history_ns

HISTORY_MS = 1000.0  # how far behind the newest event corners may still be looked for
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class BagCalibration:
    """fx_px: None where no depth can be metric, and why. info: the first camera_info; lens: what it describes."""

    fx_px: float | None
    info: object | None = None
    lens: CameraModel | None = None
    why: str = ""


@dataclass
class MethodAnswers:
    """What one checkpoint answered. counters: for JSON; how is what it went through."""

    name: str
    weights: Path
    trained: bool
    answers: list[ReplayAnswer]
    counters: dict = field(default_factory=dict)


@dataclass(frozen=True)
class ReplaySession:
    """A bag that was read once: everything but the answers."""

    path: Path
    topics: BagTopics
    height: int
    width: int
    duration_ns: int
    calibration: BagCalibration
    truth: GroundTruth | None
    found: BagQuestions
    settings: ReplaySettings


def open_session(
    path: Path | str,
    model,
    names: TopicNames | None = None,
    settings: ReplaySettings | None = None,
    extrinsics: np.ndarray | None = None,
    fx_px: float | None = None,
    progress: Progress | None = None,
) -> ReplaySession:
    """Reads what the bag asks. model: whose windows decide which events count as those of a stamp. extrinsics:
    T_camera_lidar. fx_px: focal length where the bag has no camera_info, or another is meant.

    progress(what, time done since the start, all, ns). ValueError, one line, says what in the bag does not fit.
    """
    names, settings = names or TopicNames(), settings or ReplaySettings()
    if settings.by_events:
        names = replace(names, motion=False)
    with open_bag(path) as bag:
        topics = choose_topics(bag, names, extrinsics is not None)
        source = open_events(bag.path, topics.events)
        calibration = _calibrate(bag, topics, source.height, source.width, fx_px)
        topics = _usable_poses(bag, topics, calibration, settings)
        truth = _ground_truth(bag, topics, source.height, source.width, calibration, extrinsics)
        reader = pixel_reader(bag, topics.events_type, model.config, (source.height, source.width))
        report = _reporter(progress, "reading", bag)
        found = collect_requests(bag, topics, reader, calibration.lens, truth, settings, report)
        return ReplaySession(
            Path(path), topics, source.height, source.width, bag.duration_ns, calibration, truth, found, settings
        )


def pixel_reader(bag: Bag, events_type: str, config, sensor_hw: tuple[int, int]) -> PacketReader:
    """One that cuts the windows of a model, config its own, for people and front-ends: in pixels, whatever cells the
    model sees."""
    history_ns = exact_history_ns(config, HISTORY_MS)
    return PacketReader(bag, events_type, replace(config, pitch=None), sensor_hw, history_ns)


def _calibrate(bag: Bag, topics: BagTopics, height: int, width: int, fx_px: float | None) -> BagCalibration:
    info, lens, why = read_lens(bag, topics.camera_info, height, width)
    if fx_px is not None:
        if not 0 < fx_px < float("inf"):
            raise ValueError(f"--fx {fx_px}: give the focal length in pixels")
        return BagCalibration(fx_px, info, lens, why)
    try:
        return BagCalibration(focal_length_px(info, width), info, lens, why)
    except ValueError as error:
        return BagCalibration(None, info, lens, str(error))


def _usable_poses(bag: Bag, topics: BagTopics, calibration: BagCalibration, settings: ReplaySettings) -> BagTopics:
    """The topics without poses where there is no lens, as rays of pixels are what motion is about. ValueError: poses
    that cannot be read, or a camera pose that is none."""
    if topics.poses is None:
        if settings.camera_pose:
            raise ValueError(f"--camera-pose, but {bag.path} has no poses; its topics are {bag.contents}")
        return topics
    PoseSource(topics.motion, settings.camera_pose)
    return topics if calibration.lens else replace(topics, poses=None, poses_type=None)


def _ground_truth(
    bag: Bag,
    topics: BagTopics,
    height: int,
    width: int,
    calibration: BagCalibration,
    extrinsics: np.ndarray | None,
) -> GroundTruth | None:
    """Tried on its first message, so that what does not fit is known at once."""
    if topics.lidar:
        if calibration.lens is None:
            raise ValueError(f"{bag.path}: a LiDAR needs the lens of the event camera, but {calibration.why}")
        truth: GroundTruth = LidarDepth(topics.lidar, extrinsics, calibration.lens)
    elif topics.depth:
        truth = DepthImages(topics.depth, height, width)
    else:
        return None
    if (message := first_message(bag, truth.topic)) is not None:
        truth.depth_m(message)
    return truth


def _reporter(progress: Progress | None, what: str, bag: Bag) -> Callable[[int], object]:
    if progress is None:
        return lambda done_ns: None
    return lambda done_ns: progress(what, done_ns, bag.duration_ns)


@half_of_the_cores()
def replay_offline(
    session: ReplaySession,
    weights: Sequence[Path],
    device: str = "cpu",
    partial: Partial | None = None,
    progress: Progress | None = None,
) -> list[MethodAnswers]:
    """Every checkpoint through the bag, one after the other. partial: as replay_configuration() describes it."""
    methods = []
    for number, (path, name) in enumerate(zip(weights, method_names(weights), strict=True)):
        model = accelerate(load_checkpoint(path, device), session.settings.acceleration)
        model.prepare(session.height, session.width)
        with open_bag(session.path) as bag:
            run = _offline_run(session, model, bag)
            run.run(bag, session.topics.events, partial, f"{number:02d}", _reporter(progress, name, bag))
        methods.append(MethodAnswers(name, path, model.trained, run.answers, _counters(run)))
    return methods


def _counters(run: OfflineReplay) -> dict[str, int]:
    counters = {"windows_encoded": run.encoded, "requests_expired": run.expired}
    counters |= {f"resets_{cause}": count for cause, count in run.reader.intake.resets.items()}
    if (support := run.reader.intake.support) is not None:
        counters["unsupported_events"] = support.events_removed
    return counters | ({} if run.motion is None else run.motion.counters())


def _offline_run(session: ReplaySession, model, bag: Bag) -> OfflineReplay:
    settings, topics, sensor_hw = session.settings, session.topics, (session.height, session.width)
    motion, lens = None, session.calibration.lens
    if lens is not None and (topics.poses or settings.by_events):
        motion = BagMotion(bag, topics, lens, model, settings)
    predictor = Predictor(
        model,
        *sensor_hw,
        session.calibration.fx_px,
        settings.max_cache_age_ms,
        allow_untrained=True,  # whoever names weights wants their answers; the result says whether they are trained
        mode=settings.mode,
        motion=motion and motion.depth,
    )

    def begin(epoch: int) -> None:
        predictor.begin(epoch)
        if motion is not None:
            motion.begin(epoch)

    streamed = (predictor.history_ns, begin, settings.support_filter_ms)
    reader = PacketReader(bag, topics.events_type, model.config, sensor_hw, *streamed)
    reader.intake.listener = motion
    return OfflineReplay(session.found.requests, reader, predictor, settings, motion)


def method_names(weights: Sequence[Path]) -> list[str]:
    """The files' names, with a number where two have the same."""
    stems = [Path(path).stem for path in weights]
    return [stem if stems.count(stem) == 1 else f"{stem}:{number}" for number, stem in enumerate(stems)]


def replay_configuration(session: ReplaySession, weights: Sequence[Path], device: str) -> dict:
    """What finished answers depend on."""
    requests = session.found.requests
    return {
        "bag": [session.path.name, session.duration_ns, session.found.packets, len(requests)],
        "points": sum(len(request.uv_px) for request in requests),
        "topics": session.topics.described(),
        "fx_px": session.calibration.fx_px,
        "weights": [fingerprint(path) for path in weights],
        "settings": asdict(session.settings),
        "device": device,
        "version": __version__,
    }
