"""Which topics of a bag are events, calibration, keypoints, poses and depth: by the name given, else by type."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from eventspd_ros.events.files.rosbag import Bag
from eventspd_ros.events.messages import CAMERA_INFO, EVENT_PACKET, EVENT_TYPES, IMAGE, KEYPOINT_ARRAY, POINT_CLOUD2
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.keypoints import LAYOUTS, KeypointSource
from eventspd_ros.inputs.odometry import MESSAGES

DEPTH_ENCODINGS = ("32FC1", "16UC1")


@dataclass(frozen=True)
class TopicNames:
    """What the user named; None: found by its type. layout, coordinates: as the node's parameters keypoints_…; motion:
    whether poses are looked for."""

    events: str | None = None
    camera_info: str | None = None
    keypoints: str | None = None
    layout: str | None = None
    coordinates: str = "pixel"
    depth: str | None = None
    lidar: str | None = None
    poses: str | None = None
    motion: bool = True


@dataclass(frozen=True)
class BagTopics:
    """What the replay reads; None: the bag has none. A LiDAR counts only where its extrinsics are known."""

    events: str
    events_type: str
    camera_info: str | None
    keypoints: str | None
    source: KeypointSource | None
    depth: str | None
    lidar: str | None
    poses: str | None = None
    poses_type: str | None = None

    @property
    def motion(self) -> str:
        """As the node's parameter."""
        return next((motion for motion, types in MESSAGES.items() if self.poses_type in types), "none")

    def described(self) -> dict:
        """For JSON."""
        return asdict(self)


def choose_topics(bag: Bag, names: TopicNames, has_extrinsics: bool = False) -> BagTopics:
    """ValueError, one line, names what is missing or ambiguous, and what the bag has."""
    events = _choose(bag, names.events, EVENT_TYPES, "events")
    if events is None:
        raise ValueError(f"{bag.path}: no events ({EVENT_PACKET} or EventArray); its topics are {bag.contents}")
    if names.lidar and not has_extrinsics:
        raise ValueError(f"--lidar {names.lidar}: give its --extrinsics too (T_camera_lidar)")
    depth = None
    if not has_extrinsics or names.depth:
        depth = _choose(bag, names.depth, (IMAGE,), "depth", lambda topic: is_depth(first_message(bag, topic)), events)
    keypoints, source = _choose_keypoints(bag, names, events)
    lidar = None
    if has_extrinsics:
        if names.depth:
            raise ValueError("--depth and --extrinsics: give one kind of ground truth, depth images or a LiDAR")
        lidar = _choose(bag, names.lidar, (POINT_CLOUD2,), "lidar", lambda topic: _has_fields(bag, topic, "xyz"))
        if lidar is None:
            raise ValueError(f"{bag.path}: no {POINT_CLOUD2} with x, y, z; its topics are {bag.contents}")
    poses = _choose_poses(bag, names)
    return BagTopics(
        events,
        _msgtype(bag, events),
        _choose(bag, names.camera_info, (CAMERA_INFO,), "camera-info", near=events),
        keypoints,
        source,
        depth,
        lidar,
        poses,
        poses and _msgtype(bag, poses),
    )


def first_message(bag: Bag, topic: str):
    """The topic's first message, None where it has none or it cannot be read."""
    try:
        return next((message for _, _, message in bag.read(topic)), None)
    except ValueError:
        return None


def is_depth(image) -> bool:
    return image is not None and image.encoding in DEPTH_ENCODINGS


def read_lens(bag: Bag, topic: str | None, height: int, width: int) -> tuple[object | None, CameraModel | None, str]:
    """The first camera_info, the lens it describes, and, where it describes none, why."""
    info = first_message(bag, topic) if topic else None
    if info is None:
        return None, None, "the bag has no camera_info"
    try:
        return info, CameraModel.from_info(info, width, height), ""
    except ValueError as error:
        return info, None, str(error)


def _msgtype(bag: Bag, topic: str) -> str:
    return next(c.msgtype for c in bag.connections if c.topic == topic)


def _choose(bag: Bag, name: str | None, kinds: tuple[str, ...], role: str, fits=lambda topic: True, near: str = ""):
    """The topic named, or the only one of these types that fits; of several the one beside `near`."""
    if name is not None:
        if name not in bag.topics or _msgtype(bag, name) not in kinds or not fits(name):
            raise ValueError(f"--{role} {name}: {bag.path} has no such {' or '.join(kinds)}; it has {bag.contents}")
        return name
    found = [c.topic for c in bag.connections if c.msgtype in kinds and c.msgcount and fits(c.topic)]
    if len(found) > 1:
        beside = [topic for topic in found if near and topic.rpartition("/")[0] == near.rpartition("/")[0]]
        if len(beside) != 1:
            raise ValueError(f"{bag.path}: {len(found)} topics could be --{role}; name one of {', '.join(found)}")
        found = beside
    return found[0] if found else None


def _has_fields(bag: Bag, topic: str, names: str) -> bool:
    cloud = first_message(bag, topic)
    return cloud is not None and set(names) <= {field.name for field in cloud.fields}


def _choose_keypoints(bag: Bag, names: TopicNames, near: str) -> tuple[str | None, KeypointSource | None]:
    """A PointCloud does not say which layout it has; without a name for it, it is not taken for keypoints."""
    for layout in (names.layout,) if names.layout else ("keypoint_array", "point_cloud2"):
        source = KeypointSource(layout, names.coordinates)
        if names.layout is None and names.keypoints and _type_or_none(bag, names.keypoints) != source.message_type:
            continue

        def fits(topic: str, layout: str = layout) -> bool:
            return layout != "point_cloud2" or _has_fields(bag, topic, "uv")

        topic = _choose(bag, names.keypoints, (source.message_type,), "keypoints", fits, near)
        if topic is not None:
            return topic, source
    if names.keypoints:
        known = ", ".join(layout for layout in LAYOUTS if LAYOUTS[layout] == _type_or_none(bag, names.keypoints))
        hint = f"say which layout it has, --keypoints-layout {known}" if known else f"its topics are {bag.contents}"
        raise ValueError(f"--keypoints {names.keypoints}: no {KEYPOINT_ARRAY} or PointCloud2 with u, v; {hint}")
    if names.layout:
        raise ValueError(f"{bag.path}: no {LAYOUTS[names.layout]} for {names.layout}; its topics are {bag.contents}")
    return None, None


def _choose_poses(bag: Bag, names: TopicNames) -> str | None:
    """An odometry rather than bare poses: it says how far its motion may be off."""
    if not names.motion:
        if names.poses:
            raise ValueError(f"--poses {names.poses}, and --no-motion or --motion-by-events: give one of them")
        return None
    wanted = [sum(MESSAGES.values(), ())] if names.poses else MESSAGES.values()
    topics = (_choose(bag, names.poses, types, "poses") for types in wanted)
    return next((topic for topic in topics if topic), None)


def _type_or_none(bag: Bag, topic: str) -> str | None:
    return next((c.msgtype for c in bag.connections if c.topic == topic), None)
