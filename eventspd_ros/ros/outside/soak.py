"""`make soak`: a simulated bag played at the node in a loop, with jumps, for minutes; what it leaves behind as JSON.

The node is a process of its own. This one publishes the bag's messages as they were recorded, so stamps and packet
numbers fall at every loop, leap at every seek and stand still at every pause; it counts answers and watches the node.
Where the bag has poses, as a simulated one, the node has motion on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rclpy.serialization import deserialize_message

from eventspd_ros.benchmark.machine import cpu_name
from eventspd_ros.evaluation.replay.topics import BagTopics, TopicNames, choose_topics
from eventspd_ros.events.files.rosbag import RosbagSource, open_bag
from eventspd_ros.events.messages import time_to_ns
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.ros.bag_player import recorded_qos
from eventspd_ros.ros.messages import message_class
from eventspd_ros.ros.outside.node_under_test import NodeUnderTest, driving, motion_parameters, stages_ms
from eventspd_ros.simulation.bag import write_bag
from eventspd_ros.simulation.stream import SimulationConfig
from eventspd_ros.whole import write_whole

WARM_UP_S = 60.0
LAST_ANSWERS_S = 5.0
MAX_RSS_GROWTH = 0.01
CYCLE = ("loop", "loop", "seek", "pause")
PAUSE_S = 1.5
# The node knows its reader a little later than the reader knows the node.
SETTLE_S = 1.0


# What is watched of the node. Memory that is its own alone is anonymous; the shared one is Fast DDS's segment, of fixed
# size and touched little by little.
MEMORY = {"rss_mb": "VmRSS", "anonymous_mb": "RssAnon", "file_mb": "RssFile", "shared_mb": "RssShmem"}
COUNTS = ("threads", "file_descriptors")


@dataclass
class Watched:
    """A process's memory, threads and file descriptors, once a second: (s, the four of MEMORY, the two of COUNTS)."""

    pid: int
    start_s: float
    samples: list[tuple[float, ...]] = field(default_factory=list)

    def sample(self) -> None:
        """Once a second at most."""
        now_s = time.monotonic() - self.start_s
        if self.samples and now_s - self.samples[-1][0] < 1.0:
            return
        folder = Path(f"/proc/{self.pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        memory = (int(status[name].removesuffix("kB")) * 1024 / 1e6 for name in MEMORY.values())
        self.samples.append((now_s, *memory, *(len(os.listdir(folder / name)) for name in ("task", "fd"))))

    def by_minute(self) -> dict[str, list[float]]:
        """The median of each minute."""
        minutes: dict[int, list[tuple[float, ...]]] = {}
        for row in self.samples:
            minutes.setdefault(int(row[0] // 60), []).append(row)
        medians = np.array([np.median(rows, axis=0) for rows in minutes.values()]).round(1)
        return {name: medians[:, k].tolist() for k, name in enumerate(MEMORY, start=1)}

    def summary(self, warm_up_s: float) -> dict:
        """After the warm-up: the median of the first and of the last tenth, so that one sample decides nothing."""
        rows = np.array([row for row in self.samples if row[0] >= warm_up_s] or self.samples)
        tenth = max(len(rows) // 10, 1)
        first, last, highest = np.median(rows[:tenth], axis=0), np.median(rows[-tenth:], axis=0), rows.max(axis=0)
        found: dict = {
            name: {"first": round(first[k], 1), "last": round(last[k], 1), "max": round(highest[k], 1)}
            for k, name in enumerate(MEMORY, start=1)
        }
        for k, name in enumerate(COUNTS, start=1 + len(MEMORY)):
            found[name] = {"first": int(rows[0, k]), "last": int(rows[-1, k]), "max": int(highest[k])}
        return found | {"rss_growth": round(last[1] / first[1] - 1, 5), "by_minute": self.by_minute()}


class Soak(NodeUnderTest):
    """Camera, front-end and consumer. waiting: requests not yet answered, (stamp in ns, monotonic s), in order."""

    def __init__(self, bag: Path, topics: BagTopics):
        super().__init__("eventspd_soak")
        with open_bag(bag) as opened:
            self.messages = list(opened.messages())
            kinds = {c.topic: (message_class(c.msgtype), recorded_qos(c)) for c in opened.connections}
        played = {topics.events, topics.camera_info, topics.keypoints, topics.poses}
        self._publishers_of = {
            topic: self.create_publisher(kind, topic, qos) for topic, (kind, qos) in kinds.items() if topic in played
        }
        self.messages = [message for message in self.messages if message[0] in self._publishers_of]
        self._keypoints = topics.keypoints
        self.waiting: deque[tuple[int, float]] = deque()
        self.asked = self.lost = self.out_of_order = 0
        self.latencies_ms: list[float] = []

    def wait_until_heard(self) -> None:
        self.wait_until_connected(*self._publishers_of.values())

    def trouble(self, text: str) -> None:
        """The report says it: with what status the node ended, or which answers are missing."""

    def play(self, first: int, until_s: float, watched: Watched) -> None:
        """The messages from number `first` on, each when it is due."""
        if first >= len(self.messages):
            return
        start_s, start_ns = time.monotonic(), self.messages[first][1]
        for topic, time_ns, data in self.messages[first:]:
            while (wait_s := start_s + (time_ns - start_ns) / NS_PER_S - time.monotonic()) > 0:
                self.spin_once(min(wait_s, 0.01))
            if topic == self._keypoints:
                stamp = deserialize_message(data, KeypointArray).header.stamp
                self.asked += 1
                self.waiting.append((time_to_ns(stamp), time.monotonic()))
            self._publishers_of[topic].publish(data)
            self.spin_once(0.0)
            watched.sample()
            if time.monotonic() > until_s:
                return

    def _on_answer(self, msg: KeypointDepthArray) -> None:
        """The oldest request of that stamp; those before it have lost theirs."""
        stamp_ns = time_to_ns(msg.header.stamp)
        place = next((k for k, (asked_ns, _) in enumerate(self.waiting) if asked_ns == stamp_ns), None)
        if place is None:
            self.out_of_order += 1
            return
        self.lost += place
        for _ in range(place + 1):
            _, sent_s = self.waiting.popleft()
        self.latencies_ms.append(1e3 * (time.monotonic() - sent_s))


def run_soak(bag: Path, minutes: float) -> dict:
    """Play for that long; returns the report."""
    with open_bag(bag) as opened:
        topics = choose_topics(opened, TopicNames())
    if topics.keypoints is None:
        raise ValueError(f"{bag}: has no keypoints to ask for; without --bag one is simulated")
    remappings = {"events": topics.events, "camera_info": topics.camera_info, "keypoints": topics.keypoints}
    remappings[topics.motion] = topics.poses
    source = RosbagSource(bag, topics.events)
    sensor = {"sensor_width": source.width, "sensor_height": source.height}  # compiled for before the watch begins
    parameters = {"weights": "", "allow_untrained": True, **sensor, **motion_parameters(topics)}
    cycle: Counter[str] = Counter()
    chance = random.Random(0)
    with driving(lambda: Soak(bag, topics), parameters, remappings) as soak:
        soak.wait_until_heard()
        soak.spin_until(lambda: False, SETTLE_S)
        start_s = time.monotonic()
        process = soak.process
        assert process is not None, "driving() started it"
        watched, until_s = Watched(process.pid, start_s), start_s + 60 * minutes
        while time.monotonic() < until_s and process.poll() is None:
            what = CYCLE[sum(cycle.values()) % len(CYCLE)]
            cycle[what] += 1
            if what == "pause":
                soak.spin_until(lambda: False, min(PAUSE_S, max(until_s - time.monotonic(), 0)))
            first = chance.randrange(len(soak.messages) // 2) if what == "seek" else 0
            soak.play(first, until_s, watched)
        soak.spin_until(lambda: not soak.waiting, LAST_ANSWERS_S)
        soak.next_diagnostics()
        ended = process.poll()
    return report(soak, watched, cycle, minutes) | {"node_exit_status": ended}


def report(soak: Soak, watched: Watched, cycle: Counter, minutes: float) -> dict:
    latencies = soak.latencies_ms or [float("nan")]
    names, quantiles = ("p50", "p95", "p99", "max"), np.percentile(latencies, [50, 95, 99, 100])
    return {
        "machine": cpu_name(),
        "minutes": minutes,
        "played": dict(cycle),
        "requests": soak.asked,
        "lost_answers": soak.lost + len(soak.waiting),
        "out_of_order": soak.out_of_order,
        "latency_ms": {name: round(float(q), 2) for name, q in zip(names, quantiles, strict=True)},
        **watched.summary(min(WARM_UP_S, 30 * minutes)),
        "stages_ms": stages_ms(soak.diagnostics),
        "diagnostics": soak.diagnostics,
    }


def complaints(summary: dict) -> list[str]:
    """What a soak must not show."""
    found = []
    if summary["lost_answers"] or summary["out_of_order"]:
        arrived, answered = (summary["diagnostics"].get(key, "?") for key in ("requests", "requests_answered"))
        found.append(
            f"{summary['lost_answers']} answers lost, {summary['out_of_order']} out of order (of {summary['requests']} "
            f"requests {arrived} came to the node, which answered {answered})"
        )
    if summary["rss_growth"] > MAX_RSS_GROWTH:
        found.append(f"memory grew by {100 * summary['rss_growth']:.2f} %")
    for name in ("threads", "file_descriptors"):
        if summary[name]["last"] > summary[name]["first"]:
            found.append(f"{name}: {summary[name]}")
    if summary["node_exit_status"] is not None:
        found.append(f"the node ended with {summary['node_exit_status']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("soak"), help="folder of the bag and of soak.json")
    parser.add_argument("--bag", type=Path, help="rosbag2 with events and keypoints; without it one is simulated")
    options = parser.parse_args()
    # Nothing else that runs here may be played to, or answer; 1…100 are free of the ports that systems hand out.
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    options.out.mkdir(parents=True, exist_ok=True)
    bag = options.bag or options.out / "bag"
    if not bag.exists():
        write_bag(bag, SimulationConfig())
    try:
        summary = run_soak(bag, options.minutes)
    except ValueError as error:
        sys.exit(f"soak: {error}")
    write_whole(options.out / "soak.json", json.dumps(summary, indent=2) + "\n")
    print(json.dumps({key: value for key, value in summary.items() if key != "diagnostics"}, indent=2))
    if found := complaints(summary):
        sys.exit(f"soak: {'; '.join(found)}")


if __name__ == "__main__":
    main()
