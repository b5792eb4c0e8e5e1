"""The topics of one stream and their quality of service."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from eventspd_ros.msg import KeypointDepthArray
from eventspd_ros.ros.messages import CAMERA_INFO_QOS, KEYPOINTS_QOS, WindowInput

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


class StreamTopics:
    """Publishers from construction, subscriptions between subscribe() and unsubscribe(); destroy() ends both.

    name: the stream's; its topics are events (or image), camera_info, keypoints and ~/keypoint_depths, or
    left/events, … source: of the events or images. keypoints_type: of the messages on keypoints. mismatches: peers
    whose QoS does not fit, by topic.
    """

    def __init__(self, node: LifecycleNode, name: str, source: WindowInput, keypoints_type: type):
        self._node, self._source, self._keypoints_type = node, source, keypoints_type
        self._prefix = f"{name}/" if name else ""
        self._subscriptions: list = []
        self._publishers: list = []
        self.mismatches: dict[str, int] = {}
        self.answers = self.publisher(KeypointDepthArray, "keypoint_depths", KEYPOINTS_QOS)

    def publisher(self, message_type: type, topic: str, qos: QoSProfile):
        """A lifecycle publisher of ~/topic, or ~/left/topic, that lives as long as this."""
        self._publishers.append(
            self._node.create_lifecycle_publisher(
                message_type,
                f"~/{self._prefix}{topic}",
                copy(qos),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                event_callbacks=PublisherEventCallbacks(incompatible_qos=self._warner(topic, "subscriber")),
            )
        )
        return self._publishers[-1]

    def subscribe(self, on_source: Callable, on_camera_info: Callable, on_keypoints: Callable) -> None:
        """on_source(bytes), on_camera_info(CameraInfo), on_keypoints(message)."""
        source = self._source
        self._subscribe(source.message_type, source.topic, on_source, source.qos, raw=True)
        self._subscribe(CameraInfo, "camera_info", on_camera_info, CAMERA_INFO_QOS)
        self._subscribe(self._keypoints_type, "keypoints", on_keypoints, KEYPOINTS_QOS)

    def unsubscribe(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def destroy(self) -> None:
        self.unsubscribe()
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.pop())

    @property
    def topic_names(self) -> list[str]:
        """Of the subscriptions, as resolved."""
        return [subscription.topic_name for subscription in self._subscriptions]

    def _subscribe(self, message_type, topic: str, callback: Callable, qos: QoSProfile, raw: bool = False) -> None:
        self._subscriptions.append(
            self._node.create_subscription(
                message_type,
                self._prefix + topic,
                callback,
                copy(qos),  # overrides are written into it
                raw=raw,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._warner(topic, "publisher")),
            )
        )

    def _warner(self, topic: str, peer: str) -> Callable:
        topic = self._prefix + topic

        def warn(event) -> None:
            self.mismatches[topic] = event.total_count
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            ours = "publisher" if peer == "subscriber" else "subscription"
            self._node.get_logger().warning(
                f"{topic}: a {peer}'s QoS does not fit ours ({policy}), so nothing passes between the two; change the "
                f"{peer}'s, or ours with qos_overrides.<topic>.{ours}.{policy.lower()}"
            )

        return warn
