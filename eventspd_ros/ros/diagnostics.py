"""What the node and its streams have done and lost, at 1 Hz on /diagnostics."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.utilities import get_rmw_implementation_identifier

from eventspd_ros.inputs.event_intake import EventIntake
from eventspd_ros.motion.depth_from_motion import MotionDepth
from eventspd_ros.nanoseconds import NS_PER_MS
from eventspd_ros.ros.fastdds import loss_hint
from eventspd_ros.ros.poses import Poses
from eventspd_ros.ros.stream import Stream
from eventspd_ros.ros.workers import Reporter

PERIOD_S = 1.0
# A node that leaves out more of its windows than that, so many updates in a row, cannot keep up.
TOLERATED_SHARE, SLOW_UPDATES = 0.1, 3
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
Verdict = tuple[bytes, str]


class Updater:
    """Publishes a DiagnosticArray a second of that clock.

    Not diagnostic_updater, even where it is installed: there tasks are named once for all, and streams come later; and
    its timer stands still with simulated time.
    """

    def __init__(self, node, clock):
        self._node, self._diagnostics = node, NodeDiagnostics(node)
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(PERIOD_S, self._publish, clock=clock)

    def _publish(self) -> None:
        name = self._node.get_fully_qualified_name()
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
        for task, (level, message), values in self._diagnostics.statuses():
            pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
            array.status.append(DiagnosticStatus(level=level, name=f"{name}: {task}", message=message, values=pairs))
        self._publisher.publish(array)


class NodeDiagnostics:
    """The statuses of a node: its own, then one a stream."""

    def __init__(self, node):
        self._node = node
        self._rates: dict[str, dict[str, Rate]] = {}
        self._slow: Counter[str] = Counter()  # updates in a row, by stream

    def statuses(self) -> list[tuple[str, Verdict, dict]]:
        """(name, (level, message), values) of each."""
        node = self._node
        if node.get_parameter("use_sim_time").value:
            warn_of_publishers(node, "/clock", "time jumps to and fro", node.reporter)
        found = [("node", node_verdict(node), node_values(node))]
        for camera in list(node.cameras.values()):
            if camera.stream is not None:
                rates = self._rates.setdefault(camera.name, defaultdict(Rate))
                values = stream_values(camera.stream, rates)
                values["pictures_skipped"] = camera.outputs.skipped
                values["qos_mismatches"] = sum(camera.topics.mismatches.values())
                found.append((camera.name or "stream", stream_verdict(camera.stream, node), values))
                warn_of_loss(camera)
                warn_of_publishers(node, camera.source_topic, "packets come twice or mixed", camera.reporter)
                self._warn_of_pace(camera, values)
        return found

    def _warn_of_pace(self, camera, values: dict) -> None:
        """Say once that windows come faster than they are encoded, how late answers are, and what would help."""
        encoded_hz, dropped_hz = values["windows_encoded_hz"], values["windows_dropped_hz"]
        behind = dropped_hz > TOLERATED_SHARE * (encoded_hz + dropped_hz)
        self._slow[camera.name] = self._slow[camera.name] + 1 if behind else 0
        if self._slow[camera.name] >= SLOW_UPDATES:
            query_ms = values.get("query_ms_p50")
            late = "" if query_ms is None else f", an answer {query_ms} ms"
            camera.reporter.once(
                "pace",
                f"encodes {encoded_hz:.0f} of {encoded_hz + dropped_hz:.0f} windows a second, the others are left out: "
                f"a window takes {values.get('encode_model_ms_p50', '?')} ms{late}; an idler machine, a GPU, fewer "
                "streams or `eventspd export` help",
            )


class Rate:
    """How fast a counter grows."""

    def __init__(self):
        self._count, self._time_s = 0, time.monotonic()

    def of(self, count: int) -> float:
        """Per second, since the last call."""
        now_s = time.monotonic()
        rate = max(count - self._count, 0) / max(now_s - self._time_s, 1e-3)
        self._count, self._time_s = count, now_s
        return rate


def node_verdict(node) -> Verdict:
    if node.fault:
        return ERROR, f"{node.state}, {node.fault}"
    if node.state != "active":
        return WARN, node.state
    if not node.model.trained:
        return WARN, "active; untrained weights: depths mean nothing"
    return OK, "active"


def node_values(node) -> dict:
    values = {"state": node.state}
    if node.model is not None:
        device = node.model.device
        values |= {"preset": node.model.config.preset, "trained": node.model.trained, "device": device}
        if device.type == "cuda":
            values["gpu_memory_mb"] = round(torch.cuda.memory_allocated(device) / 1e6, 1)
            values["gpu_memory_reserved_mb"] = round(torch.cuda.memory_reserved(device) / 1e6, 1)
    if (encoder := node.encoder) is not None:
        values |= {"encode_batches": encoder.batches, "encode_faults": encoder.faults.failures}
    return values


def lost_before_the_node(stream: Stream) -> int:
    """Packets that never arrived: what is missing in seq, less what the node dropped itself."""
    decoder = stream.intake.decoder
    return max(decoder.stats.lost_packets - stream.packets_dropped, 0) if decoder else 0


def stream_values(stream: Stream, rates: Mapping[str, Rate]) -> dict:
    """Counters since activation, the cache's age and the clock's offset now, latencies of the last thousand times."""
    intake, lane, desk = stream.intake, stream.lane, stream.desk
    values: dict[str, object] = {}
    if isinstance(intake, EventIntake) and intake.decoder is not None:
        stats = asdict(intake.decoder.stats)
        late, stray = intake.events_out_of_order
        values |= {"event_rate_hz": round(rates["events"].of(stats["events"]))} | stats
        values |= {"late_events": late, "stray_events": stray, "packets_out_of_turn": intake.packets_out_of_turn}
    elif intake.packets:
        values |= {"images": intake.packets}
    values |= {
        "packets_rejected": intake.packets_rejected,
        "packets_dropped": stream.packets_dropped,
        "packets_lost_before_node": lost_before_the_node(stream),
        "windows_encoded": lane.encoded,
        "windows_dropped": stream.windows_dropped,
        "windows_encoded_hz": round(rates["encoded"].of(lane.encoded), 1),
        "windows_dropped_hz": round(rates["dropped"].of(stream.windows_dropped), 1),
        "windows_failed": lane.failed,
        "windows_void": lane.void,
        "requests": desk.received,
        "requests_answered": desk.answered,
        "requests_overloaded": desk.overloaded,
        "requests_expired": stream.cache_wait.expired,
        "publish_errors": desk.publish_errors,
    }
    values |= {f"resets_{cause}": count for cause, count in intake.resets.items() if count}
    if (hot := intake.filter) is not None:
        values |= {
            "hot_pixels": hot.pixels,
            "hot_pixel_events": hot.events_removed,
            "hot_pixels_learning": hot.learning,
        }
    if intake.support is not None:
        values["unsupported_events"] = intake.support.events_removed
    if (age_ms := stream.cache_age_ms) is not None:
        values["cache_age_ms"] = round(age_ms, 2)
    if stream.offset_ns is not None:
        values["clock_offset_ms"] = round(stream.offset_ns / NS_PER_MS, 3)
    for stage, (p50, p99) in stream.latencies.summary().items():
        values |= {f"{stage}_ms_p50": f"{p50:.2f}", f"{stage}_ms_p99": f"{p99:.2f}"}
    values |= {f"keypoints_{status.name.lower()}": n for status, n in desk.points_by_status.items() if n}
    if stream.poses is not None:
        values |= pose_values(stream, stream.poses)
    if stream.predictor is not None and (motion := stream.predictor.motion) is not None:
        values |= motion_values(stream, motion)
    return values


def pose_values(stream: Stream, poses: Poses) -> dict:
    """Counters of the poses."""
    values: dict[str, object] = {
        "poses": poses.intake.accepted,
        "poses_rejected": poses.intake.rejected,
        "poses_dropped": poses.messages.dropped,
        "requests_without_pose_in_time": stream.cache_wait.expired_poses,
    }
    values |= {f"poses_{cause}": n for cause, n in poses.trajectory.counts.copy().items()}
    if (age_s := poses.age_s) is not None:
        values["pose_age_ms"] = round(1e3 * age_s, 1)
    return values


def motion_values(stream: Stream, motion: MotionDepth) -> dict:
    """What motion gave; what the stream has learnt by it, now."""
    counts = {f"keypoints_by_{str(basis.name).lower()}": n for basis, n in stream.desk.points_by_basis.items()}
    return counts | {
        "has_lens": motion.has_lens,
        "answers_without_poses": motion.without_poses,
        "learned_log_scale": round(motion.learned.scale, 3),
        "learned_log_scale_stddev": round(motion.learned.variance**0.5, 3),
        "learned_stddev_factor": round(motion.learned.trust, 2),
        "track_noise_px": round(motion.track_noise_px, 2),
        "pose_rotation_drift_seen_dps": round(math.degrees(np.linalg.norm(motion.drift.rate_rad_s)), 2),
    }


def stream_verdict(stream: Stream, node) -> Verdict:
    predictor = stream.predictor
    if not stream.intake.packets or predictor is None:
        return WARN, stream.intake.last_error or f"no {stream.intake.unit} yet"
    if predictor.fx_px is None:
        return WARN, "no focal length: publish camera_info or set fx_px"
    if (poses := stream.poses) is not None and not poses.are_coming(predictor.max_cache_age_ms):
        reason = f" ({poses.intake.last_error})" if poses.intake.rejected else ""
        return WARN, f"no poses of {poses.messages.name}{reason}: depths are learned ones"
    if not node.model or not node.model.trained:
        return WARN, "untrained weights: learned depths mean nothing"
    return OK, "running"


def warn_of_loss(camera) -> None:
    """Say once that packets are lost on their way here, why that may be and what cures it."""
    lost = lost_before_the_node(camera.stream)
    if lost:
        camera.reporter.once(
            "loss",
            f"{lost} event packets were lost before they reached this node (gaps in seq): "
            f"{loss_hint(get_rmw_implementation_identifier())}",
        )


def warn_of_publishers(node, topic: str, effect: str, reporter: Reporter) -> None:
    """Say once that several publish what one alone may."""
    publishers = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    if len(publishers) > 1:
        names = ", ".join(sorted(info.node_name for info in publishers))
        text = f"{topic} has {len(publishers)} publishers ({names}), so {effect}; stop all but one"
        reporter.once(f"publishers of {topic}", text)
