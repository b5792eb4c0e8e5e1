"""A simulated bag with some of its topics in another form, as other robots record them."""

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from eventspd_ros.events.files.rosbag import bag_typestore, open_bag

STORE = bag_typestore()
TYPES = STORE.types
POINT_CLOUD2, POINT_CLOUD = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/PointCloud"


def rewrite(bag: Path, out: Path, changes: dict, storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """changes: topic → None to leave it out, or (type, function message → message)."""
    with open_bag(bag) as reader, Writer(out, version=9, storage_plugin=storage) as writer:
        kinds = {c.topic: changes[c.topic][0] if changes.get(c.topic) else c.msgtype for c in reader.connections}
        kept = [topic for topic in kinds if changes.get(topic, ()) is not None]
        connections = {t: writer.add_connection(t, kinds[t], typestore=STORE) for t in kept}
        types = {c.topic: c.msgtype for c in reader.connections}
        for topic, time_ns, data in reader.messages(kept):
            if topic in changes:
                data = STORE.serialize_cdr(changes[topic][1](reader.deserialize(data, types[topic])), kinds[topic])
            writer.write(connections[topic], time_ns, data)
    return out


def at_other_times(bag: Path, out: Path, later_ns: dict[str, int]) -> Path:
    """The bag with all messages of some topics recorded so much later."""
    with open_bag(bag) as reader, Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=STORE) for c in reader.connections}
        messages = [(time_ns + later_ns.get(topic, 0), topic, data) for topic, time_ns, data in reader.messages()]
        for time_ns, topic, data in sorted(messages, key=lambda message: message[0]):
            writer.write(connections[topic], time_ns, data)
    return out


def cloud(header, **columns: np.ndarray):
    """A PointCloud2 of these fields (float32, or uint32 for id)."""
    kinds = {name: "<u4" if name == "id" else "<f4" for name in columns}
    points = np.zeros(len(next(iter(columns.values()))), list(kinds.items()))
    for name, column in columns.items():
        points[name] = column
    field = TYPES["sensor_msgs/msg/PointField"]
    fields = [field(n, points.dtype.fields[n][1], 6 if n == "id" else 7, 1) for n in columns]
    size = points.itemsize
    data = points.view(np.uint8).ravel()
    return TYPES[POINT_CLOUD2](header, 1, len(points), fields, False, size, size * len(points), data, True)


def keypoint_cloud(message):
    return cloud(message.header, id=message.id, u=message.u, v=message.v)


def vins_cloud(message):
    """As VINS-Mono's `feature`: channels id, u, v."""
    point, channel = TYPES["geometry_msgs/msg/Point32"], TYPES["sensor_msgs/msg/ChannelFloat32"]
    columns = (np.asarray(column, np.float32) for column in (message.id, message.u, message.v))
    channels = [channel(name, values) for name, values in zip("iuv", columns, strict=True)]
    return TYPES[POINT_CLOUD](message.header, [point(0.0, 0.0, 1.0) for _ in message.id], channels)


def millimetres(image):
    """32FC1 to 16UC1; what it does not know is 0."""
    depth_m = np.frombuffer(image.data, np.float32)
    data = np.rint(1000 * np.nan_to_num(depth_m)).clip(0, 65535).astype("<u2").view(np.uint8)
    return TYPES["sensor_msgs/msg/Image"](image.header, image.height, image.width, "16UC1", 0, 2 * image.width, data)
