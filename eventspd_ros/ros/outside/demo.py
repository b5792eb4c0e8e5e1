"""The whole path once, as on a robot: a bag, played over DDS to the real node; its answers, a summary, a picture.

Without a bag a small one is simulated first (a drive through a street at known depth). The rest is a replay through the
node at the bag's own pace (replay.py). A bag without keypoints is asked corners of its events.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eventspd_ros.evaluation.replay.offline import ReplayAnswer
from eventspd_ros.evaluation.replay.packets import readable
from eventspd_ros.evaluation.replay.requests import ReplayRequest, ReplaySettings
from eventspd_ros.evaluation.replay.session import MethodAnswers, Progress, ReplaySession, open_session, pixel_reader
from eventspd_ros.evaluation.replay.topics import TopicNames
from eventspd_ros.evaluation.scoring.metrics import abs_rel
from eventspd_ros.evaluation.showing.overlay import draw_overlay
from eventspd_ros.events.files.rosbag import RosbagSource, open_bag
from eventspd_ros.events.types import EventWindow
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.predictor import QueryMode, Status
from eventspd_ros.resources import DEFAULT_WEIGHTS, find_weights
from eventspd_ros.ros.outside.replay import replay_online
from eventspd_ros.simulation.bag import write_bag
from eventspd_ros.simulation.stream import SimulationConfig
from eventspd_ros.whole import write_whole

# A bag without camera_info gets the focal length of an ordinary lens (67° across); its depths are not metric.
ASSUMED_FX_PER_WIDTH = 0.75
# A CPU encodes a 1280x720 window in most of a second; a robot would rather have STALE_CACHE than wait for it.
DEMO_CACHE_AGE_MS = 2000.0
SETTINGS = ReplaySettings(QueryMode.LATEST, uniform=0, max_cache_age_ms=DEMO_CACHE_AGE_MS)


def run_demo(
    bag: Path | None,
    out: Path,
    weights: str = DEFAULT_WEIGHTS,
    topic: str | None = None,
    progress: Progress | None = None,
) -> dict:
    """Play a bag through the node and leave out/summary.json and out/overlay.png; returns the summary.

    weights: a name or a path. topic: of the events, where a bag has several. progress: as of open_session().
    """
    if bag is None:
        bag = out / "bag"
        if not bag.exists():
            config = SimulationConfig(domain="drive", seed=8)  # at 5 to 7 m/s; no weights were trained on it
            with tqdm(total=config.chunks, desc="simulating", unit="packet") as bar:
                write_bag(bag, config, progress=bar.update)
    path = find_weights(weights)
    model = load_checkpoint(path)
    names = TopicNames(events=RosbagSource(bag, topic).topic)
    session = open_session(bag, model, names, SETTINGS, progress=progress)
    assumed = session.calibration.fx_px is None
    if assumed:
        fx_px = ASSUMED_FX_PER_WIDTH * session.width
        session = replace(session, calibration=replace(session.calibration, fx_px=fx_px))
    answered = replay_online(session, [path], 1.0, "cpu", progress)[0]
    summary = summary_of(session, answered) | {"weights": weights, "fx_assumed": assumed}
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    draw_answer(session, answered, model.config, out / "overlay.png")
    return summary


def summary_of(session: ReplaySession, answered: MethodAnswers) -> dict:
    """What was asked, answered and lost, how fast and, where the bag has depth, how well."""
    requests, answers = session.found.requests, [given.answer for given in answered.answers]
    status = np.concatenate([answer.status for answer in answers] or [np.empty(0, np.uint8)])
    predicted, true = (
        np.concatenate(parts or [np.empty(0, np.float32)])
        for parts in ([answer.depth_m for answer in answers], [request.true_m for request in requests])
    )
    counted = ("windows_encoded", "windows_dropped", "packets_lost_before_node", "latency_ms", "stages_ms")
    return {
        "bag": str(session.path),
        "sensor": f"{session.width}x{session.height}",
        "poses": session.topics.poses,
        "requests": len(requests),
        "answers": len(answers),
        "ok": sum(bool((answer.status == Status.OK).any()) for answer in answers),
        "keypoints": len(status),
        "keypoints_by_status": {s.name: int((status == s).sum()) for s in Status if (status == s).any()},
        **{name: answered.counters[name] for name in counted},
        "abs_rel": abs_rel(predicted, true),
    }


def draw_answer(session: ReplaySession, answered: MethodAnswers, config, path: Path) -> None:
    """The answer with the most depths among the last half, over the events before its stamp. config: the model's."""
    both = list(zip(session.found.requests, answered.answers, strict=True))[len(answered.answers) // 2 :]
    if not both:
        return
    request, given = max(both, key=_depths)
    events = _events_before(session, config, request.stamp_ns)
    if events is None:
        return
    ok = given.answer.status == Status.OK
    title = f"{session.path.name}: {len(events)} events, {int(ok.sum())} of {len(ok)} keypoints OK"
    draw_overlay(events, request.uv_px, given.answer.depth_m, ok, path, title)


def _depths(both: tuple[ReplayRequest, ReplayAnswer]) -> int:
    return int((both[1].answer.status == Status.OK).sum())


def _events_before(session: ReplaySession, config, stamp_ns: int) -> EventWindow | None:
    """Of one window, in pixels of the sensor; None: there are none, or the recording ends before the stamp."""
    with open_bag(session.path) as bag:
        reader = pixel_reader(bag, session.topics.events_type, config, (session.height, session.width))
        for _, _, data in readable(bag, [session.topics.events]):
            reader.take(data)
            if reader.has_reached(stamp_ns):
                break
        return reader.window_before(stamp_ns)


def table(summary: dict) -> str:
    """The summary as a person reads it."""
    latency = summary["latency_ms"]
    statuses = ", ".join(f"{count} {name}" for name, count in summary["keypoints_by_status"].items())
    stages = summary["stages_ms"]
    note = " (trained on simulated scenes)" if summary["weights"] == DEFAULT_WEIGHTS else ""
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
