"""The topics of one stream and their quality of service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions

from eventspd_ros.msg import KeypointDepthArray
from eventspd_ros.ros.messages import KEYPOINTS_QOS

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


@dataclass(frozen=True, slots=True)
class Subscription:
    """One input of a stream. callback(message), or, where raw, callback(bytes)."""

    topic: str
    message_type: type
    qos: QoSProfile
    callback: Callable[[Any], None]
    raw: bool = False


class StreamTopics:
    """Publishers from construction, subscriptions between subscribe() and unsubscribe(); destroy() ends both.

    name: the stream's; its topics are events, … and ~/keypoint_depths, or left/events, … mismatches: peers whose QoS
    does not fit, by topic.
    """

    def __init__(self, node: LifecycleNode, name: str):
        self._node = node
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

    def subscribe(self, rows: Sequence[Subscription]) -> None:
        for row in rows:
            warner = self._warner(row.topic, "publisher")
            self._subscriptions.append(
                self._node.create_subscription(
                    row.message_type,
                    self._prefix + row.topic,
                    row.callback,
                    copy(row.qos),  # overrides are written into it
                    raw=row.raw,
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                    event_callbacks=SubscriptionEventCallbacks(incompatible_qos=warner),
                )
            )

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
