"""A node in a process of its own, driven from this one: what demo, soak, bench and online replay share."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from eventspd_ros.msg import KeypointDepthArray
from eventspd_ros.ros.fastdds import own_profile
from eventspd_ros.ros.latency import STAGES
from eventspd_ros.ros.messages import KEYPOINTS_QOS, message_class
from eventspd_ros.ros.process import start_process

NODE_NAME = "eventspd"
ANSWERS_TOPIC = f"/{NODE_NAME}/keypoint_depths"
# On a busy machine a process of ours takes a minute to import what it needs.
START_S = 120.0


class NodeUnderTest(Node):
    """This process's side of it: publishes, hears answers and diagnostics. driving() gives it its process.

    diagnostics: the newest values of the node and its stream, by key.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.process: subprocess.Popen | None = None
        self.diagnostics: dict[str, str] = {}
        self._spinner = SingleThreadedExecutor()
        self._spinner.add_node(self)
        self.create_subscription(KeypointDepthArray, ANSWERS_TOPIC, self._on_answer, KEYPOINTS_QOS)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_answer(self, msg: KeypointDepthArray) -> None:
        raise NotImplementedError

    def trouble(self, text: str) -> None:
        """What becomes of a node that ended or went to error: a ValueError, unless a subclass knows better."""
        raise ValueError(text)

    def is_connected(self, *publishers) -> bool:
        """Whether the node is active, answers and hears them all."""
        is_up = self.count_publishers(ANSWERS_TOPIC) > 0 and self.diagnostics.get("state") == "active"
        return is_up and all(publisher.get_subscription_count() for publisher in publishers)

    def wait_until_connected(self, *publishers) -> None:
        """ValueError: the node did not come up in time."""
        if not self.spin_until(lambda: self.is_connected(*publishers), START_S):
            raise ValueError(f"eventspd_node did not come up within {START_S:.0f} s; see its messages above")

    def spin_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Handle messages until done() or the time is up; whether it was done in time."""
        deadline_s = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() >= deadline_s:
                return False
            if self.process is not None and self.process.poll() is not None:
                self.trouble(f"eventspd_node ended with exit status {self.process.returncode}; see its message above")
            self.spin_once(0.02)
        return True

    def spin_once(self, timeout_s: float) -> None:
        """Handle one message, or none where none comes in that time."""
        self._spinner.spin_once(timeout_sec=timeout_s)

    def next_diagnostics(self) -> dict[str, str]:
        """The values of the next ones; empty where none come."""
        self.diagnostics.clear()
        self.spin_until(lambda: "requests" in self.diagnostics, 3.0)
        return dict(self.diagnostics)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name.startswith(f"/{NODE_NAME}: "):
                self.diagnostics.update({pair.key: pair.value for pair in status.values})
                if status.level == DiagnosticStatus.ERROR:
                    self.trouble(f"{status.name}: {status.message}")


Driver = TypeVar("Driver", bound=NodeUnderTest)


@contextmanager
def driving(
    make: Callable[[], Driver], parameters: Mapping[str, object], remappings: Mapping[str, str | None] | None = None
) -> Iterator[Driver]:
    """What make() returns, inside rclpy, with an eventspd_node as its process; all end when the block is left."""
    with own_profile():
        rclpy.init()
        try:
            driver = make()
            try:
                with ros_process("node", parameters, remappings) as driver.process:
                    yield driver
            finally:
                driver.destroy_node()
        except ExternalShutdownException:
            raise KeyboardInterrupt from None
        finally:
            rclpy.try_shutdown()


@contextmanager
def ros_process(
    module: str, parameters: Mapping[str, object], remappings: Mapping[str, str | None] | None = None
) -> Iterator[subprocess.Popen]:
    """A node of this package as a process, ended when the block is left.

    parameters: their values in Python, which JSON can hold; remappings: those to None are left out.
    """
    # JSON is YAML, which the arguments are; a string that looks like a number stays a string.
    arguments = [item for name, value in parameters.items() for item in ("-p", f"{name}:={json.dumps(value)}")]
    arguments += [item for name, topic in (remappings or {}).items() if topic for item in ("-r", f"{name}:={topic}")]
    process = start_process([sys.executable, "-m", f"eventspd_ros.ros.{module}", "--ros-args", *arguments])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def motion_parameters(topics) -> dict[str, str]:
    """Of the node, for the poses that the topics of a bag (poses, poses_type, motion) hold. ValueError: their message
    is not installed."""
    if topics.poses is None:
        return {}
    if message_class(topics.poses_type) is None:
        package = topics.poses_type.split("/")[0].replace("_", "-")
        raise ValueError(f"{topics.poses}: {topics.poses_type} is missing; apt install ros-$ROS_DISTRO-{package}")
    pose_type = {"pose_type": topics.poses_type} if topics.motion == "pose" else {}
    return {"motion": topics.motion, **pose_type}


def stages_ms(diagnostics: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """p50 and p99 of each stage in the node, as its diagnostics say them."""
    return {
        stage: {q: float(diagnostics[f"{stage}_ms_{q}"]) for q in ("p50", "p99")}
        for stage in STAGES
        if f"{stage}_ms_p50" in diagnostics
    }
