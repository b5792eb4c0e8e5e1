"""The node with a client that plays cameras, front-ends and consumers, spun by one thread, for tests over DDS."""

from __future__ import annotations

import array
import time

import numpy as np
import streams
from diagnostic_msgs.msg import DiagnosticArray
from eventspd_ros.msg import KeypointArray, KeypointDepthArray
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo
from spinning import Spinner

from eventspd_ros.events.messages import EVENT_TYPES
from eventspd_ros.ros.images import IMAGE_INPUT
from eventspd_ros.ros.messages import KEYPOINTS_QOS, WindowInput, event_input, ns_to_time
from eventspd_ros.ros.node import EventspdNode


class Eye:
    """One camera's topics, from outside."""

    def __init__(self, node: EventspdNode, client: Node, namespace: str, name: str, source: WindowInput):
        self._node, self._name = node, name
        prefix = f"{namespace}/{name}/" if name else f"{namespace}/"
        own = f"{namespace}/eventspd/{name}/" if name else f"{namespace}/eventspd/"
        self.events = client.create_publisher(source.message_type, prefix + source.topic, source.qos)
        self.camera_info = client.create_publisher(CameraInfo, f"{prefix}camera_info", 1)
        self.keypoints = client.create_publisher(KeypointArray, f"{prefix}keypoints", KEYPOINTS_QOS)
        self.answers: list[KeypointDepthArray] = []
        # The client shares its thread with the node: on a busy machine more answers wait than KEYPOINTS_QOS holds.
        deep = QoSProfile(depth=1000, reliability=KEYPOINTS_QOS.reliability)
        client.create_subscription(KeypointDepthArray, f"{own}keypoint_depths", self.answers.append, deep)

    @property
    def camera(self):
        return self._node.cameras[self._name]

    @property
    def stream(self):
        return self.camera.stream

    def is_connected(self) -> bool:
        publishers = (self.events, self.camera_info, self.keypoints)
        hears = self.camera.topics.answers.get_subscription_count()
        return bool(hears) and all(p.get_subscription_count() for p in publishers)

    def play(self, packets) -> None:
        """Publish the packets and wait until their windows are encoded."""
        for packet in packets:
            self.events.publish(streams.to_msg(packet))
            time.sleep(0.002)
        streams.until(lambda: self.stream.intake.decoder and self.stream.intake.decoder.stats.packets >= len(packets))
        streams.until(lambda: self.stream.idle and self._node.encoder.idle)

    def send(self, uv, stamp_ns, ids=None) -> None:
        """A request, not waited for."""
        uv = np.asarray(uv, np.float32).reshape(-1, 2)
        ids = range(len(uv)) if ids is None else ids
        msg = KeypointArray(id=array.array("Q", ids), u=array.array("f", uv[:, 0]), v=array.array("f", uv[:, 1]))
        msg.header.stamp, msg.header.frame_id = ns_to_time(stamp_ns), "optical"
        self.keypoints.publish(msg)

    def ask(self, uv, stamp_ns, ids=None) -> KeypointDepthArray:
        before = len(self.answers)
        self.send(uv, stamp_ns, ids)
        streams.until(lambda: len(self.answers) > before)
        return self.answers[-1]


class Robot(Eye):
    """A node, and its eyes by name; it is its only eye itself where that has no name."""

    def __init__(self, names=("",), namespace="", **parameters):
        # Packets may wait that long on a busy machine; a small model with random weights unless a test names others.
        values = {"max_cache_age_ms": 1000.0, "weights": ""} | parameters
        overrides = [RosParameter(name, value=value) for name, value in values.items()]
        if names != ("",):
            overrides.append(RosParameter("streams", value=list(names)))
        self.node = EventspdNode(parameter_overrides=overrides, namespace=namespace)
        self.node.start()
        self.client = Node("client", namespace=namespace)
        space = f"/{namespace}" if namespace else ""
        source = IMAGE_INPUT if values.get("input") == "image" else event_input(EVENT_TYPES[0])
        self.eyes = {name: Eye(self.node, self.client, space, name, source) for name in names}
        self.__dict__.update(self.eyes[names[0]].__dict__)
        self.diagnostics: list[DiagnosticArray] = []
        self.client.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self.spinner = Spinner(self.node, self.client)
        streams.until(lambda: all(eye.is_connected() for eye in self.eyes.values()))

    def close(self) -> None:
        self.spinner.close()
        self.node.close()
        self.node.destroy_node()
        self.client.destroy_node()

    def call(self, service_type, name: str, request):
        """What a service of the node answers."""
        client = self.client.create_client(service_type, name)
        assert client.wait_for_service(10)
        future = client.call_async(request)
        streams.until(future.done)
        return future.result()

    def diagnosed(self) -> dict[str, str]:
        """All values of the next diagnostics of the node."""
        mine = self.node.get_fully_qualified_name() + ": "
        self.diagnostics.clear()
        streams.until(lambda: any(mine in s.name for m in self.diagnostics for s in m.status))
        found = next(m for m in self.diagnostics if any(mine in s.name for s in m.status))
        return {pair.key: pair.value for status in found.status for pair in status.values}
