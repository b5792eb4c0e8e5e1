"""What can be drawn from an answer: a point cloud, a sparse depth image with its camera_info, an overlay.

Each is computed only while someone listens, on a thread of its own, so that no answer waits for a picture. The messages
are filled here, an array each, without sensor_msgs_py and cv_bridge, which a ROS 2 from wheels does not have.
"""

from __future__ import annotations

import array
import copy
from collections.abc import Callable

import cv2
import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.inputs.point_cloud import CLOUD_COLUMNS, cloud_fields, keypoint_cloud
from eventspd_ros.msg import KeypointDepthArray
from eventspd_ros.ros.queues import WorkQueue
from eventspd_ros.ros.workers import Reporter, Worker

# RViz subscribes reliably by default and would not hear best-effort publishers (image_pipeline#814).
OUTPUTS_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
MAX_WAITING = 4  # answers; the oldest is left out
# Colours of the overlay are logarithmic in depth between these and the same in every image: yellow near, dark far.
NEAR_M, FAR_M = 0.5, 50.0
GREY = (90, 90, 90)
Seen = EventWindow | ImageWindow


class Outputs:
    """One stream's publishers of these: put() takes every answer and returns at once; close() ends the thread."""

    def __init__(
        self,
        create_publisher: Callable,
        reporter: Reporter,
        on_fault: Callable[[str], None],
        name: str = "",
        noise_px: float | None = None,
    ):
        """create_publisher(message type, topic, QoS): puts the stream's own place before the topic. noise_px: as of
        point_cloud()."""
        self._noise_px = noise_px
        self.points = create_publisher(PointCloud2, "points", OUTPUTS_QOS)
        self.depth = create_publisher(Image, "depth/image", OUTPUTS_QOS)
        self.depth_info = create_publisher(CameraInfo, "depth/camera_info", OUTPUTS_QOS)
        self.overlay = create_publisher(Image, "overlay", OUTPUTS_QOS)
        self._answers = WorkQueue(MAX_WAITING)
        self._worker = Worker(f"outputs {name}".strip(), self._step, reporter, on_fault)
        self._worker.start()

    @property
    def skipped(self) -> int:
        """Answers that were not drawn because drawing could not keep up."""
        return self._answers.dropped

    def put(self, answer: KeypointDepthArray, camera: CameraModel | None, events: Seen | None) -> None:
        """camera: of camera_info; without it only the overlay is drawn. events: what the answer rests on."""
        if any(is_heard(p) for p in (self.points, self.depth, self.depth_info, self.overlay)):
            self._answers.put((answer, camera, events))

    def wants_events(self) -> bool:
        """Whether someone looks at the overlay."""
        return is_heard(self.overlay)

    def close(self) -> bool:
        """Drop what waits and join the thread; whether it ended."""
        self._answers.close()
        return self._worker.join()

    def _step(self) -> bool:
        if (item := self._answers.get()) is None:
            return False
        self._publish(*item)
        return True

    def _publish(self, answer: KeypointDepthArray, camera: CameraModel | None, events: Seen | None) -> None:
        if camera is not None:
            if is_heard(self.points):
                self.points.publish(point_cloud(answer, camera, self._noise_px))
            if is_heard(self.depth) or is_heard(self.depth_info):
                image = depth_image(answer, camera)
                self.depth.publish(image)
                self.depth_info.publish(camera_info_at(image.header, camera))
        if events is not None and self.wants_events():
            self.overlay.publish(overlay_image(answer, events))


def is_heard(publisher) -> bool:
    return publisher.get_subscription_count() > 0


def _ok(answer: KeypointDepthArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which keypoints have a depth, bool (K,); where they all are, float64 (K, 2) px; their depths, float32 (K,) m."""
    uv_px = np.stack([np.asarray(answer.u, np.float64), np.asarray(answer.v, np.float64)], axis=1)
    return np.asarray(answer.status) == KeypointDepthArray.OK, uv_px, np.asarray(answer.depth, np.float32)


def _optical_header(answer: KeypointDepthArray, camera: CameraModel) -> Header:
    """The answer's stamp in the camera's own frame: front-ends put their request into "world" or leave it empty."""
    return Header(stamp=answer.header.stamp, frame_id=camera.frame_id or answer.header.frame_id)


def point_cloud(answer: KeypointDepthArray, camera: CameraModel, noise_px: float | None = None) -> PointCloud2:
    """The keypoints that have a depth as points in the optical frame, distortion removed: inputs/point_cloud.py.
    noise_px: of the keypoints, for the points' covariance; None: without it."""
    ids, u_px, v_px, depth_m, stddev_m, status = (np.asarray(getattr(answer, name)) for name in CLOUD_COLUMNS)
    points = keypoint_cloud(camera, ids, u_px, v_px, depth_m, stddev_m, status, noise_px)
    fields = [
        PointField(name=n, offset=at, datatype=kind, count=count) for n, at, kind, count in cloud_fields(points.dtype)
    ]
    return PointCloud2(
        header=_optical_header(answer, camera),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=array.array("B", points.tobytes()),
        is_dense=True,
    )


def depth_image(answer: KeypointDepthArray, camera: CameraModel) -> Image:
    """REP-118: 32FC1, metres along the optical axis, of the raw sensor; NaN but at the pixels with a keypoint.

    Where several keypoints share a pixel the nearest stands.
    """
    ok, uv_px, depth_m = _ok(answer)
    image = np.full((camera.height, camera.width), np.nan, np.float32)
    # Pixel u reaches from u - 0.5 to u + 0.5.
    columns, rows = np.floor(uv_px[ok].T + 0.5).astype(np.int64)
    np.fmin.at(image, (rows.clip(0, camera.height - 1), columns.clip(0, camera.width - 1)), depth_m[ok])
    return image_message(_optical_header(answer, camera), image, "32FC1")


def camera_info_at(header: Header, camera: CameraModel) -> CameraInfo:
    """camera_info under the header of the image it belongs to."""
    info = copy.copy(camera.info)
    info.header = header
    return info


def overlay_image(answer: KeypointDepthArray, events: Seen) -> Image:
    """rgb8: the events on white, red where brighter and blue where darker, or the image; the keypoints as dots coloured
    by depth, grey where they have none; a scale in metres."""
    from eventspd_ros.evaluation.showing.overlay import event_image  # it loads matplotlib, which only this output needs

    ok, uv_px, depth_m = _ok(answer)
    if isinstance(events, ImageWindow):
        image = events.image.copy()
    else:
        image = np.rint(255 * event_image(events)).astype(np.uint8)
        image = image if events.pitch is None else np.ascontiguousarray(events.pitch.to_sensor(image))
    height, width = image.shape[:2]
    radius = max(2, round(width / 200))
    inside = np.isfinite(uv_px).all(axis=1) & (np.abs(uv_px) < 2 * max(width, height)).all(axis=1)
    for u, v in uv_px[inside & ~ok]:
        cv2.drawMarker(image, (round(u), round(v)), GREY, cv2.MARKER_TILTED_CROSS, 2 * radius)
    for (u, v), colour in zip(uv_px[inside & ok], depth_colours(depth_m[inside & ok]), strict=True):
        cv2.circle(image, (round(u), round(v)), radius, colour.tolist(), cv2.FILLED, cv2.LINE_AA)
    _draw_scale(image)
    return image_message(answer.header, image, "rgb8")


def depth_colours(depth_m: np.ndarray) -> np.ndarray:
    """Depths (K,) m to colours (K, 3) uint8 RGB."""
    share = np.log(np.clip(depth_m, NEAR_M, FAR_M) / NEAR_M) / np.log(FAR_M / NEAR_M)
    shades = np.rint(255 * (1 - share)).astype(np.uint8).reshape(-1, 1)
    return cv2.applyColorMap(shades, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1] if len(shades) else np.empty((0, 3), np.uint8)


def _draw_scale(image: np.ndarray) -> None:
    """The colours from near to far along the lower edge, with the metres at its ends."""
    height, width = image.shape[:2]
    length, thickness = width // 3, max(3, height // 60)
    colours = depth_colours(np.geomspace(NEAR_M, FAR_M, length))
    image[height - thickness :, :length] = colours
    size = max(0.3, height / 1000)
    for text, u in ((f"{NEAR_M:g} m", 0), (f"{FAR_M:g} m", length)):
        cv2.putText(image, text, (u, height - thickness - 2), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)


def image_message(header: Header, pixels: np.ndarray, encoding: str) -> Image:
    """An image message of an array (H, W) or (H, W, C)."""
    height, width = pixels.shape[:2]
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.nbytes // height,
        data=array.array("B", little.tobytes()),
    )
