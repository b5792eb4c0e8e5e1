"""What is known of a camera's lens: camera_info, or a focal length by parameter."""

from __future__ import annotations

from collections.abc import Callable

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo

from eventspd_ros.inputs.camera_model import CameraModel, focal_length_px
from eventspd_ros.motion.depth_from_motion import MotionDepth
from eventspd_ros.ros.queues import WorkQueue
from eventspd_ros.ros.workers import Reporter, Worker


class Calibration:
    """info: the newest camera_info, None before the first. fx_px(): the parameter, 0 where it is not set."""

    def __init__(self, fx_px: Callable[[], float], reporter: Reporter):
        self._fx_px, self._reporter = fx_px, reporter
        self.info: CameraInfo | None = None
        self._lens: tuple[CameraInfo, tuple[int, int], CameraModel | None] | None = None
        self._pinhole: tuple[tuple[float, int, int], CameraModel] | None = None

    def take(self, msg: CameraInfo) -> bool:
        """Whether it says anything new: it comes with every picture."""
        msg.header.stamp = Time()
        if msg == self.info:
            return False
        self.info = msg
        return True

    def camera_model(self, height: int, width: int) -> CameraModel | None:
        """The lens, as the newest camera_info has it for a sensor of that size; None where it says nothing usable."""
        info, lens, size = self.info, self._lens, (height, width)
        if info is None:
            return None
        if lens is None or lens[0] is not info or lens[1] != size:
            lens = self._lens = (info, size, self._read(info, height, width))
        return lens[2]

    def lens(self, height: int, width: int) -> CameraModel | None:
        """camera_model(); where there is none but fx_px is set, a pinhole whose principal point is the image's centre:
        enough for motion, too little for points that others see."""
        model, fx_px = self.camera_model(height, width), self._fx_px()
        if model is not None or not fx_px:
            return model
        key, pinhole = (fx_px, height, width), self._pinhole
        if pinhole is None or pinhole[0] != key:
            k = [fx_px, 0.0, (width - 1) / 2, 0.0, fx_px, (height - 1) / 2, 0.0, 0.0, 1.0]
            pinhole = self._pinhole = (key, CameraModel.from_info(CameraInfo(k=k), width, height))
        return pinhole[1]

    def focal_length_px(self, width: int) -> float | None:
        """The parameter, or what camera_info says of a sensor of that width; None where neither does."""
        if fx_px := self._fx_px():
            return fx_px
        try:
            return focal_length_px(self.info, width)
        except ValueError as error:
            self._reporter.error("camera_info", str(error))
            return None

    def _read(self, info: CameraInfo, height: int, width: int) -> CameraModel | None:
        try:
            return CameraModel.from_info(info, width, height)
        except ValueError as error:
            self._reporter.error("lens", f"{error}: no points, no depth image")
            return None


class LensTeller:
    """Tells motion of its lens in a thread of its own: the rays of 1280x720 pixels take seconds (docs/node.md)."""

    def __init__(self, reporter: Reporter, on_fault: Callable[[str], None]):
        self._lenses = WorkQueue(1)
        self._worker = Worker("lens", self._step, reporter, on_fault)
        self._worker.start()

    def put(self, motion: MotionDepth, lens: CameraModel | None) -> None:
        """The newest counts."""
        self._lenses.put((motion, lens))

    def close(self) -> bool:
        """Whether the thread ended."""
        self._lenses.close()
        return self._worker.join()

    def _step(self) -> bool:
        if (item := self._lenses.get()) is None:
            return False
        motion, lens = item
        motion.set_lens(lens)
        return True
