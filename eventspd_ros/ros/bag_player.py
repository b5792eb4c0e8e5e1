"""Plays a rosbag2 over DDS with /clock, also where rosbag2 itself is not installed.

Messages go out as the serialized bytes the bag holds, decompressed where they were compressed, with the QoS they were
recorded with. A /clock that was recorded stays in the bag: two would tell every node that time jumps, to and fro.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from eventspd_ros.events.files.rosbag import KINDS, open_bag
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.ros.messages import message_class, ns_to_time
from eventspd_ros.ros.parameters import PLAYER_PARAMETERS, declare
from eventspd_ros.ros.process import ros_context

# /clock also ticks where the bag is silent.
CLOCK_PERIOD_S = 0.01
CLOCK_TOPIC = "/clock"
# A publisher knows its reader a little before the reader knows it.
SETTLE_S = 0.2
BAR = "{desc} {percentage:3.0f}% |{bar}| {n:.1f} of {total:.1f} s"


def recorded_qos(connection: Connection) -> QoSProfile:
    """The offered QoS of a recorded connection; reliable and volatile where none was recorded.

    A deep history, whatever was recorded: the player publishes in bursts that the camera did not.
    """
    qos = QoSProfile(depth=1000, history=HistoryPolicy.KEEP_LAST)
    if isinstance(connection.ext, ConnectionExtRosbag2) and (profiles := connection.ext.offered_qos_profiles):
        best_effort = profiles[0].reliability.name == "BEST_EFFORT"
        transient = profiles[0].durability.name == "TRANSIENT_LOCAL"
        qos.reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        qos.durability = DurabilityPolicy.TRANSIENT_LOCAL if transient else DurabilityPolicy.VOLATILE
    return qos


class BagPlayer(Node):
    """Plays once, then returns from play()."""

    def __init__(self, **node_options):
        super().__init__("bag_player", **node_options)
        self.parameters = declare(self, PLAYER_PARAMETERS)
        if not self.parameters.bag:
            raise ValueError(f"parameter bag is empty: give {KINDS}")
        self.clock_publisher = self.create_publisher(Clock, CLOCK_TOPIC, 10)
        self.bag = open_bag(self.parameters.bag)
        self._publishers_by_topic = self._make_publishers()

    def _make_publishers(self) -> dict:
        publishers = {}
        for connection in self.bag.connections:
            if connection.topic == CLOCK_TOPIC:
                self.get_logger().warning(f"{CLOCK_TOPIC} of the bag is left out: time comes from this player alone")
                continue
            if self.parameters.topics and connection.topic not in self.parameters.topics:
                continue
            kind = message_class(connection.msgtype)
            if kind is None:
                self.get_logger().warning(f"{connection.topic} skipped: type {connection.msgtype} is not installed")
            else:
                qos = recorded_qos(connection)
                publishers[connection.topic] = self.create_publisher(kind, connection.topic, qos)
        if not publishers:
            raise ValueError(f"{self.parameters.bag}: nothing to play; its topics are {self.bag.topics}")
        return publishers

    def play(self) -> int:
        """Publish every message at its time / rate; returns how many. ValueError where the bag turns out truncated."""
        self._wait_for_subscribers()
        played = 0
        # Closed at once: what was decompressed takes room on the disc.
        with self.bag, tqdm(total=self.bag.duration_ns / NS_PER_S, bar_format=BAR, desc="playing") as bar:
            for topic, data in self._in_time(bar):
                self._publishers_by_topic[topic].publish(data)
                played += 1
        for publisher in self._publishers_by_topic.values():
            publisher.wait_for_all_acked(Duration(seconds=2))
        return played

    def _in_time(self, bar: tqdm) -> Iterator[tuple[str, bytes]]:
        """The bag's messages, each handed out when it is due, with /clock kept ticking between them."""
        start_s, first_ns = 0.0, None
        for topic, time_ns, data in self.bag.messages(list(self._publishers_by_topic)):
            if first_ns is None:  # not before: opening a compressed bag would make its first second due at once
                start_s, first_ns = time.monotonic(), time_ns
            due_s = start_s + (time_ns - first_ns) / NS_PER_S / self.parameters.rate
            while (wait_s := due_s - time.monotonic()) > 0 and rclpy.ok():
                time.sleep(min(wait_s, CLOCK_PERIOD_S))
                now_ns = first_ns + round((time.monotonic() - start_s) * NS_PER_S * self.parameters.rate)
                self.clock_publisher.publish(Clock(clock=ns_to_time(min(now_ns, time_ns))))
            if not rclpy.ok():
                return
            bar.update((time_ns - first_ns) / NS_PER_S - bar.n)
            yield topic, data

    def _wait_for_subscribers(self) -> None:
        """Discovery takes a moment, and what is published before it is lost."""
        publishers = self._publishers_by_topic | {CLOCK_TOPIC: self.clock_publisher}
        deadline_s = time.monotonic() + self.parameters.wait_s
        for topic in self.parameters.wait_for:
            if topic not in publishers:
                raise ValueError(f"wait_for: {topic} is not played; these are: {', '.join(publishers)}")
            while not publishers[topic].get_subscription_count():
                if time.monotonic() > deadline_s:
                    raise ValueError(f"no subscriber on {topic} after {self.parameters.wait_s} s")
                time.sleep(0.02)
        time.sleep(SETTLE_S if self.parameters.wait_for else 0.0)


def main(args: list[str] | None = None) -> None:
    """ros2 run eventspd_ros bag_player BAG [--rate R] [--ros-args …]"""
    args = sys.argv if args is None else ["bag_player", *args]
    parser = argparse.ArgumentParser(prog="bag_player", description=__doc__.splitlines()[0])
    parser.add_argument("bag", nargs="?", help="rosbag2 folder, .mcap or .db3 file (or the parameter bag)")
    parser.add_argument("--rate", type=float, help="speed: 1 = as recorded (or the parameter rate)")
    given = parser.parse_args(remove_ros_args(args)[1:])
    overrides = [
        rclpy.parameter.Parameter(name, value=value) for name, value in vars(given).items() if value is not None
    ]
    with ros_context(args):
        player = BagPlayer(parameter_overrides=overrides)
        player.get_logger().info(f"{player.play()} messages played")


if __name__ == "__main__":
    main()
