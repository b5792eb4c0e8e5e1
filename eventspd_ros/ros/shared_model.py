"""The model that all streams of a node share: loaded once, prepared for the sensors in use."""

from __future__ import annotations

import threading

import numpy as np
from sensor_msgs.msg import CameraInfo

from eventspd_ros.events.codecs import ENCODINGS, make_decoder
from eventspd_ros.events.types import MAX_SENSOR_PIXELS, EventArray, ImageWindow
from eventspd_ros.events.windows import window_slicer
from eventspd_ros.inputs.camera_model import CameraModel
from eventspd_ros.model.devices import choose_device
from eventspd_ros.model.export import load_model
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.model.presets import build_model
from eventspd_ros.motion.depth_from_motion import MotionDepth, Points
from eventspd_ros.motion.flow import Flow
from eventspd_ros.motion.learned_scale import LearnedScale
from eventspd_ros.motion.own_motion import MIN_PATTERNS, own_twist
from eventspd_ros.motion.trajectory import StampedPose, Trajectory
from eventspd_ros.nanoseconds import NS_PER_S
from eventspd_ros.predictor import Predictor, QueryMode
from eventspd_ros.resources import find_weights


def model_for(parameters) -> KeypointModel:
    """The model the parameters name, on its device, ready for inference. ValueError says what does not fit."""
    device = choose_device(parameters.device)
    weights = parameters.weights
    model = load_model(find_weights(weights), device) if weights else build_model(parameters.preset).to(device)
    if not isinstance(model, KeypointModel):
        raise ValueError(f"{weights or parameters.preset} is an encoder: it answers no keypoints")
    if parameters.input != model.config.input:
        raise ValueError(
            f"input is {parameters.input}, but the model {weights or parameters.preset} sees {model.config.input}"
        )
    if parameters.input == "image" and parameters.query_mode == QueryMode.EXACT:
        raise ValueError("query_mode exact cuts events at a stamp; with input image choose latest or covering")
    return model


def warm_up(model: KeypointModel, motion: bool = False) -> None:
    """Compile the decoders and what encodes, and wake torch's threads now, not on the first packets. motion: what makes
    depth of it, too."""
    height, width = model.sensor_hw or (64, 64)  # an exported model answers for one sensor only
    model.prepare(height, width)  # as streams do: other loops run with a table
    predictor = Predictor(model, height, width, fx_px=64.0, allow_untrained=True)
    if model.config.input == "image":
        predictor.encode(ImageWindow(np.zeros((height, width, 3), np.uint8), 0))
        predictor.query(np.zeros((1, 2)))
        return
    for encoding in ENCODINGS:
        make_decoder(encoding, width=8, height=8)
    x, y, p = (np.zeros(3, dtype) for dtype in (np.uint16, np.uint16, np.uint8))
    times = np.array([0, NS_PER_S, NS_PER_S], np.int64)  # a last one alone might be a stray
    slicer = window_slicer(model.config, height, width)
    for window in slicer.push(EventArray(x, y, p, times, width, height)):
        predictor.encode(window)
        predictor.query(np.zeros((1, 2)))
    model.drop_tables()
    if motion:
        warm_up_motion()


def warm_up_motion() -> None:
    """A keypoint on an edge that passes by, and its track, so that everything runs."""
    size, step_ns = 64, 10_000_000
    trajectory = Trajectory()
    motion, by_events = MotionDepth(size, size, trajectory), MotionDepth(size, size, trajectory, by_events=True)
    lens = CameraModel.from_info(CameraInfo(k=[64.0, 0, 31.5, 0, 64.0, 31.5, 0, 0, 1]), size, size)
    motion.set_lens(lens)
    by_events.set_lens(lens)
    rows = np.arange(size, dtype=np.uint16)
    column, p, t_ns = np.zeros(size, np.uint16), np.zeros(size, np.uint8), np.zeros(size, np.int64)
    for k in range(40):
        trajectory.add(StampedPose(k * step_ns, np.array([0.05 * k, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0])))
        for each in (motion, by_events):
            each.add(column + np.uint16(size - 1 - k), rows, p, t_ns + k * step_ns)
        points = Points(np.array([[63.0 - k, 32.0]]), np.zeros(1), np.ones(1), ids=np.zeros(1, np.int64))
        motion.answer(points, k * step_ns)
    motion.advance_to(50 * step_ns)
    # What is learnt needs several points that agree.
    count = 16
    rng, ones = np.random.default_rng(0), np.ones(count)
    measured = {"measured": 0 * ones, "measured_stddev": 0.05 * ones, "sharp": ones > 0}
    LearnedScale().learn(rng.random((count, 2)), log_depth=0 * ones, stddev=0.3 * ones, **measured)
    # So does the camera's own motion.
    by_events.answer(Points(63 * rng.random((count, 2)), 0 * ones, ones), 40 * step_ns)
    count = MIN_PATTERNS
    flow = Flow(np.zeros((count, 2)), 1e3 * rng.random((count, 2)), np.tile(np.eye(2), (count, 1, 1)), 0.1)
    own_twist(0, flow, rng.random((count, 2)), (64.0, 64.0), (np.zeros(count), np.ones(count)))


class SensorTables:
    """Keeps the model prepared for the sensors that streams have now, and for no other: a table is 134 MB at 720p."""

    def __init__(self, model: KeypointModel):
        self._model = model
        self._lock = threading.Lock()
        self._sizes: dict[str, tuple[int, int]] = {}

    def prepare(self, stream: str, height: int, width: int) -> None:
        """A stream has that sensor from now on. ValueError: no event camera is that large, or the model needs a larger
        one, or was made for another; all stays as it was."""
        if height * width > MAX_SENSOR_PIXELS:
            raise ValueError(f"sensor of {width}x{height} px, more than {MAX_SENSOR_PIXELS}: the packet is corrupt")
        with self._lock:
            known = set(self._sizes.values())
            if (height, width) not in known:
                self._model.prepare(height, width)
            self._sizes[stream] = (height, width)
            needed = set(self._sizes.values())
            if known - needed:
                self._model.drop_tables()
                for size in needed:
                    self._model.prepare(*size)
