"""The whole path once, as a user runs it: bag → bag_player → DDS → eventspd_node → DDS → recorder → summary, picture.

Without a bag a small one is simulated first (a drive through a street at known depth). A bag without keypoints gets a
small front-end that publishes corners of the recent events.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eventspd_ros.evaluation.metrics import abs_rel
from eventspd_ros.evaluation.overlay import draw_overlay
from eventspd_ros.evaluation.replay.ground_truth import DepthImages
from eventspd_ros.evaluation.replay.topics import TopicNames, choose_topics
from eventspd_ros.events.clock import SensorClock
from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.files import EventSource, open_events
from eventspd_ros.events.files.rosbag import RosbagSource, open_bag
from eventspd_ros.events.types import EventArray
from eventspd_ros.msg import KeypointDepthArray
from eventspd_ros.predictor import Status
from eventspd_ros.resources import DEFAULT_WEIGHTS
from eventspd_ros.ros.messages import time_to_ns
from eventspd_ros.ros.outside.node_under_test import START_S, driving, motion_parameters, ros_process, stages_ms
from eventspd_ros.ros.outside.recorder import Recorder
from eventspd_ros.simulation.bag import write_bag
from eventspd_ros.simulation.stream import SimulationConfig
from eventspd_ros.whole import write_whole

# A bag without camera_info gets the focal length of an ordinary lens (67° across); its depths are not metric.
ASSUMED_FX_PER_WIDTH = 0.75
# A CPU encodes a 1280x720 window in most of a second; a robot would rather have STALE_CACHE than wait for it.
DEMO_CACHE_AGE_MS = 2000.0
LAST_ANSWERS_S = 20.0


@dataclass(frozen=True)
class DemoBag:
    """What a bag holds of what the demo understands; None where it has none."""

    events: str
    events_type: str
    camera_info: str | None
    keypoints: str | None
    depth: str | None
    poses: str | None
    poses_type: str | None
    motion: str
    width: int
    height: int
    duration_s: float

    @classmethod
    def of(cls, path: Path, topic: str | None = None) -> DemoBag:
        """topic: of the events, where several have some. ValueError, one line: no events, or two topics of a kind that
        it needs one of."""
        source = open_events(path, topic)
        with open_bag(path) as bag:
            try:
                assert isinstance(source, RosbagSource), "open_bag() takes no other"
                topics = choose_topics(bag, TopicNames(events=source.topic))
                if topics.camera_info is None:  # motion is of rays, and an assumed lens has none
                    topics = replace(topics, poses=None, poses_type=None)
            except ValueError as error:
                raise ValueError(f"{error} (the demo takes a --topic of events, eventspd replay of all)") from None
            is_own = topics.source is not None and topics.source.layout == "keypoint_array"
            return cls(
                events=topics.events,
                events_type=topics.events_type,
                camera_info=topics.camera_info,
                keypoints=topics.keypoints if is_own else None,
                depth=topics.depth,
                poses=topics.poses,
                poses_type=topics.poses_type,
                motion=topics.motion,
                width=source.width,
                height=source.height,
                duration_s=bag.duration_ns / 1e9,
            )


def run_demo(bag: Path | None, out: Path, weights: str = DEFAULT_WEIGHTS, topic: str | None = None) -> dict:
    """Play a bag through the node and leave out/summary.json and out/overlay.png; returns the summary.

    weights: as the node's parameter; "" for random ones. topic: of the events, where a bag has several.
    """
    if bag is None:
        bag = out / "bag"
        if not bag.exists():
            config = SimulationConfig(domain="drive", seed=8)  # at 5 to 7 m/s; no weights were trained on it
            with tqdm(total=config.chunks, desc="simulating", unit="packet") as bar:
                write_bag(bag, config, progress=bar.update)
    topics = DemoBag.of(bag, topic)
    recorder = play_and_record(bag, topics, weights)
    summary = summary_of(bag, topics, recorder, weights)
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    draw_answer(bag, topics, recorder, summary, out / "overlay.png")
    return summary


def play_and_record(bag: Path, topics: DemoBag, weights: str) -> Recorder:
    """The node and the player as processes of their own; this one records what they say."""
    keypoints = topics.keypoints or "/keypoints"
    parameters = {
        "weights": weights,
        "events_type": topics.events_type,
        "allow_untrained": True,
        "sensor_width": topics.width,
        "sensor_height": topics.height,
        "max_cache_age_ms": DEMO_CACHE_AGE_MS,
        "fx_px": 0.0 if topics.camera_info else ASSUMED_FX_PER_WIDTH * topics.width,
        **motion_parameters(topics),
    }
    remappings = {"events": topics.events, "camera_info": topics.camera_info, "keypoints": keypoints}
    remappings[topics.motion] = topics.poses
    # The recorder subscribes to /clock last, when it hears everything else.
    # Without keypoints in the bag the recorder hears events too, and a topic named twice waits for two.
    others = (topics.keypoints or topics.events, topics.poses, "/clock")
    waited_for = [topics.events, *(topic for topic in others if topic)]
    player = {"bag": str(bag.resolve()), "wait_for": waited_for}

    def make() -> Recorder:
        recorder = Recorder(keypoints)
        if topics.keypoints is None:
            recorder.make_keypoints(topics.events, topics.events_type, keypoints)
        return recorder

    with driving(make, parameters, remappings) as recorder:
        recorder.wait_until_connected()
        with ros_process("bag_player", player) as played:
            first = topics.keypoints or topics.events
            recorder.spin_until(lambda: played.poll() is not None or recorder.hears(first), START_S)
            recorder.spin_until(lambda: played.poll() is not None, 10 * topics.duration_s + 60.0)
            if played.returncode:
                raise ValueError(
                    f"{bag}: the player stopped with exit status {played.returncode}; see its message above"
                )
        recorder.spin_until(lambda: recorder.is_complete, LAST_ANSWERS_S)
        recorder.next_diagnostics()
    return recorder


def summary_of(bag: Path, topics: DemoBag, recorder: Recorder, weights: str) -> dict:
    """What was asked, answered and lost, how fast and, where the bag has depth, how well."""
    answers = recorder.answers
    status = np.concatenate([np.asarray(a.status) for a in answers] or [np.empty(0, np.uint8)])
    latency_ms = recorder.latencies_ms()
    quantiles = np.percentile(latency_ms, [50, 95, 99]) if latency_ms else [None] * 3
    trained = recorder.diagnostics.get("trained") == "True"
    error = depth_error(bag, topics, answers)
    return {
        "bag": str(bag),
        "sensor": f"{topics.width}x{topics.height}",
        "poses": topics.poses,
        "requests": len(recorder.request_times),
        "answers": len(answers),
        "ok": sum(bool((np.asarray(a.status) == Status.OK).any()) for a in answers),
        "keypoints": len(status),
        "keypoints_by_status": {s.name: int((status == s).sum()) for s in Status if (status == s).any()},
        "windows_encoded": int(recorder.diagnostics.get("windows_encoded", 0)),
        "windows_dropped": int(recorder.diagnostics.get("windows_dropped", 0)),
        "latency_ms": {
            name: None if q is None else round(float(q), 2)
            for name, q in zip(("p50", "p95", "p99"), quantiles, strict=True)
        },
        "stages_ms": stages_ms(recorder.diagnostics),
        "packets_lost_before_node": int(recorder.diagnostics.get("packets_lost_before_node", 0)),
        "abs_rel": error,
        "weights": weights or "random",
        "trained": trained,
        "fx_assumed": topics.camera_info is None,
    }


def depth_error(bag: Path, topics: DemoBag, answers: list) -> float | None:
    """AbsRel of all OK points against the bag's depth images of the same stamp; None where nothing can be compared."""
    if topics.depth is None:
        return None
    truth = DepthImages(topics.depth, topics.height, topics.width)
    by_stamp = {time_to_ns(a.header.stamp): a for a in answers}
    predicted, true = [], []
    with open_bag(bag) as reader:
        for _, _, image in reader.read(topics.depth):
            answer = by_stamp.get(time_to_ns(image.header.stamp))
            if answer is None:
                continue
            try:
                depth_m = truth.depth_m(image)
            except ValueError as error:
                print(f"no depth is compared: {error}", file=sys.stderr)
                return None
            ok = np.asarray(answer.status) == Status.OK
            columns, rows = (np.rint(np.asarray(c)[ok]).astype(int) for c in (answer.u, answer.v))
            predicted.append(np.asarray(answer.depth)[ok])
            true.append(depth_m[rows, columns])
    if not predicted:
        return None
    return abs_rel(np.concatenate(predicted), np.concatenate(true))


def draw_answer(bag: Path, topics: DemoBag, recorder: Recorder, summary: dict, path: Path) -> None:
    """The answer with the most depths among the last half, over the events it rests on."""
    answers = recorder.answers[len(recorder.answers) // 2 :]
    if not answers:
        return
    answer = max(answers, key=lambda a: int((np.asarray(a.status) == Status.OK).sum()))
    events = events_between(open_events(bag, topics.events), answer)
    ok = np.asarray(answer.status) == Status.OK
    note = "trained weights" if summary["trained"] else "UNTRAINED weights: colours mean nothing yet"
    title = f"{bag.name}: {len(events)} events, {int(ok.sum())} of {len(ok)} keypoints OK, {note}"
    draw_overlay(events, np.stack([answer.u, answer.v], axis=1), np.asarray(answer.depth), ok, path, title)


def events_between(source: EventSource, answer: KeypointDepthArray) -> EventArray:
    """The recording's events that an answer rests on, the clock filtered as the node filters it."""
    start_ns, end_ns = time_to_ns(answer.window_start), time_to_ns(answer.window_end)
    decoder, clock = make_decoder(source.encoding, source.width, source.height), SensorClock()
    parts = []
    for packet in source.packets():
        events = decoder.decode(packet)
        if not len(events):
            continue
        clock.update(packet.stamp_ns, int(events.t_ns[0]))
        time_ns = clock.to_ros(events.t_ns)
        inside = (time_ns >= start_ns) & (time_ns < end_ns)
        parts.append([column[inside] for column in (events.x, events.y, events.p, events.t_ns)])
        if time_ns[0] > end_ns:
            break
    x, y, p, t_ns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return EventArray(x, y, p, t_ns, source.width, source.height)


def table(summary: dict) -> str:
    """The summary as a person reads it."""
    latency = summary["latency_ms"]
    statuses = ", ".join(f"{count} {name}" for name, count in summary["keypoints_by_status"].items())
    stages = summary["stages_ms"]
    note = " (UNTRAINED)" if not summary["trained"] else ""
    if summary["weights"] == DEFAULT_WEIGHTS:
        note = " (trained on simulated scenes)"
    rows = [
        ("bag", f"{summary['bag']} ({summary['sensor']})"),
        ("answers / requests", f"{summary['answers']} / {summary['requests']}"),
        ("keypoints", statuses or "none"),
        ("motion", f"poses of {summary['poses']}" if summary["poses"] else "no poses: learned depth alone"),
        ("windows encoded / dropped", f"{summary['windows_encoded']} / {summary['windows_dropped']}"),
        ("latency p50 / p95 / p99", f"{latency['p50']} / {latency['p95']} / {latency['p99']} ms"),
        ("stages in the node p50 / p99", ", ".join(f"{k} {v['p50']:g} / {v['p99']:g}" for k, v in stages.items())),
        ("AbsRel", "nothing to compare with" if summary["abs_rel"] is None else f"{summary['abs_rel']:.3f}"),
        ("weights", f"{summary['weights']}{note}"),
    ]
    return "\n".join(f"{name:<30}{value}" for name, value in rows)
