"""A model for one sensor whose two phases are functions of tensors: compiled, captured as CUDA graphs, or exported.

SteppedModel answers as the models of point_depth.py do, so that a Predictor holds either. Numbers of events and of
queries are padded to buckets, as compiled code and graphs are made for one shape; padding changes no answer. Uploads
leave from pinned memory on a stream of their own, so that one window is packed and copied while another is encoded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from eventspd_ros.events.pitch import seen_hw
from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.model.event_tensors import check_length, event_windows, pack_checked
from eventspd_ros.model.feature_cache import FeatureCache, StreamState, list_tensors, put_tensors
from eventspd_ros.model.point_depth import PointDepthModel, check_pitch
from eventspd_ros.model.steps import DecodeStep, EncodeStep, cache_layout, event_encoder

FEWEST_EVENTS, FEWEST_QUERIES = 4096, 16
MOST_QUERIES = 8192  # a larger request is decoded in parts
Step = Callable[..., tuple[Tensor, ...]]
Result = TypeVar("Result")


def bucket(count: int, fewest: int) -> int:
    """The smallest fewest·2^n that holds count: at most twice as much, and few shapes."""
    return fewest << max(0, (max(count, 1) - 1) // fewest).bit_length()


class SteppedModel:
    """encode() and decode() on one sensor through an encode step and a decode step (steps.py). One thread may encode
    while others decode."""

    def __init__(self, model: PointDepthModel, sensor_hw: tuple[int, int], encode: Step, decode: Step, device="cpu"):
        """model: the one the steps are made of, or for a package one of its config, for the layout of the cache."""
        self.config, self.trained = model.config, model.trained
        self.sensor_hw, self._time_bins = sensor_hw, event_encoder(model).config.time_bins
        self.device = torch.device(device)
        self.encode_step, self.decode_step = encode, decode
        seen = seen_hw(model.config, *sensor_hw)
        self.layout = cache_layout(model, *seen)
        self._tensors = len(list_tensors(self.layout))
        self._memory_shape = model.memory_shape(*seen)
        self._events, self._points = Upload(torch.int32, self.device), Upload(torch.float32, self.device)
        self._decoding = threading.Lock()  # buffers and graphs are of one request at a time

    def prepare(self, height: int, width: int) -> None:
        """ValueError where the sensor is another than the steps were made for."""
        if (height, width) != self.sensor_hw:
            made_for = "{1}x{0}".format(*self.sensor_hw)
            raise ValueError(
                f"sensor of {width}x{height} pixels: this model was made for {made_for}; "
                f"export it again with --sensor {width}x{height}"
            )

    def drop_tables(self) -> None:
        """Nothing: the sensor's table belongs to the encode step."""

    @torch.inference_mode()
    def encode(
        self, windows: Sequence[EventWindow | ImageWindow], states: list[StreamState]
    ) -> tuple[list[FeatureCache], list[StreamState]]:
        """As PointDepthModel.encode(), one window after another."""
        if len(windows) != len(states):
            raise ValueError(f"encode: {len(windows)} windows but {len(states)} states; expected one state a window")
        check_pitch(self.config, windows)
        caches, next_states = [], []
        for window, state in zip(event_windows(windows), states, strict=True):
            self.prepare(*window.sensor_hw)
            cache, memory = self._encode(window, state.memory)
            caches.append(cache)
            next_states.append(StreamState(memory))
        return caches, next_states

    def _encode(self, window: EventWindow, memory: Tensor | None) -> tuple[FeatureCache, Tensor | None]:
        check_length(window.end_ns - window.start_ns, self._time_bins)
        packed = self._events(partial(pack_checked, window), (bucket(len(window), FEWEST_EVENTS),))
        shape = self._memory_shape
        if shape is not None and memory is None:
            memory = torch.zeros(1, *shape, device=self.device)
        found = self.encode_step(packed, *([] if shape is None else [memory]))
        tensors = put_tensors(self.layout, found[: self._tensors])
        return FeatureCache.of(window, tensors), None if shape is None else found[self._tensors]

    def decode(self, cache: FeatureCache, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """As PointDepthModel.decode()."""
        if uv_px.ndim != 2 or uv_px.shape[1] != 2:
            raise ValueError(f"decode: uv_px has shape {tuple(uv_px.shape)}; expected (K, 2)")
        with torch.inference_mode(), self._decoding:
            parts = [self._decode(cache, part) for part in cache.to_seen(uv_px).split(MOST_QUERIES)]
            depth, stddev = zip(*parts, strict=True)
            return torch.cat(depth) * cache.canonical_scale, torch.cat(stddev) * cache.canonical_scale

    def _decode(self, cache: FeatureCache, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        count = len(uv_px)

        def fill(points: np.ndarray) -> None:
            points[0, :count] = uv_px.cpu().numpy()
            points[0, count:] = 0

        points = self._points(fill, (1, bucket(count, FEWEST_QUERIES), 2))
        depth, stddev = self.decode_step(points, *list_tensors(cache.tensors))
        return depth[0, :count].clone(), stddev[0, :count].clone()


def stepped(model: PointDepthModel, height: int, width: int, wrap: Callable[[Step], Step] = lambda step: step):
    """A SteppedModel of a model on its device. wrap: what becomes of each step, e.g. torch.compile or CapturedStep."""
    seen = seen_hw(model.config, height, width)
    encode, decode = wrap(EncodeStep(model, *seen).eval()), wrap(DecodeStep(model, *seen).eval())
    return SteppedModel(model, (height, width), encode, decode, model.device)


class Upload:
    """Arrays from the host to a device, through two pinned buffers taken in turns, on a stream for copies."""

    def __init__(self, dtype: torch.dtype, device: torch.device):
        self.dtype, self.device = dtype, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._buffers: list[tuple[Tensor, Tensor, torch.cuda.Event] | None] = [None, None]
        self._turn = 0

    def __call__(self, fill: Callable[[np.ndarray], None], shape: tuple[int, ...]) -> Tensor:
        """fill() writes the array of that shape; the result is on the device, for work queued from now on."""
        count = int(np.prod(shape))
        if self._stream is None:
            made = torch.empty(shape, dtype=self.dtype)
            fill(made.numpy())
            return made
        self._turn = 1 - self._turn
        pinned, there, copied = self._buffer(count)
        copied.synchronize()  # the copy before last has left this buffer
        fill(pinned[:count].view(shape).numpy())
        now = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(now)  # what was queued may still read the device's side
        with torch.cuda.stream(self._stream):
            there[:count].copy_(pinned[:count], non_blocking=True)
            copied.record()
        now.wait_event(copied)
        return there[:count].view(shape)

    def _buffer(self, count: int) -> tuple[Tensor, Tensor, torch.cuda.Event]:
        found = self._buffers[self._turn]
        if found is None or len(found[0]) < count:
            pinned = torch.empty(count, dtype=self.dtype, pin_memory=True)
            found = (pinned, torch.empty(count, dtype=self.dtype, device=self.device), torch.cuda.Event())
            self._buffers[self._turn] = found
        return found


class CapturedStep:
    """A step as a CUDA graph for each shape of its inputs, captured when a shape first comes; on a CPU, only called.

    Inputs are copied into tensors that the graphs share, except where the very same tensor lies there already: the
    cache of a window is copied once, however many requests it answers. Results are copies. Past `most` shapes a new
    one runs without a graph, so that memory stays bounded.
    """

    def __init__(self, step: Step, most: int = 24):
        self.step, self.most = step, most
        self._inputs: dict[tuple, Tensor] = {}  # by position, shape and type
        self._sources: dict[tuple, Tensor] = {}
        self._graphs: dict[tuple, tuple[torch.cuda.CUDAGraph | None, tuple[Tensor, ...]]] = {}
        self._pool: tuple[int, int] | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        keys = [(place, *tensor.shape, tensor.dtype) for place, tensor in enumerate(inputs)]
        if tuple(keys) not in self._graphs and len(self._graphs) >= self.most:
            return self.step(*inputs)
        for key, tensor in zip(keys, inputs, strict=True):
            self._put(key, tensor)
        static = [self._inputs[key] for key in keys]
        if inputs[0].device.type != "cuda":
            self._graphs.setdefault(tuple(keys), (None, ()))
            return tuple(tensor.clone() for tensor in self.step(*static))
        if tuple(keys) not in self._graphs:
            self._graphs[tuple(keys)] = self._capture(static)
        graph, outputs = self._graphs[tuple(keys)]
        assert graph is not None, "captured above"
        graph.replay()
        return tuple(tensor.clone() for tensor in outputs)

    def _put(self, key: tuple, tensor: Tensor) -> None:
        first = key[0] == 0  # the upload's buffer, which changes in place; all others never do
        if not first and self._sources.get(key) is tensor:
            return
        if key not in self._inputs:
            self._inputs[key] = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        self._inputs[key].copy_(tensor)
        self._sources[key] = tensor

    def _capture(self, static: list[Tensor]) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
        graph, outputs = capture(lambda: tuple(self.step(*static)), self._pool)
        self._pool = self._pool or graph.pool()
        return graph, outputs


def capture(run: Callable[[], Result], pool=None) -> tuple[torch.cuda.CUDAGraph, Result]:
    """A call on the current CUDA device as a graph, and what it returned: tensors that every replay writes anew."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries choose their kernels and torch.compile compiles before the capture
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        result = run()
    return graph, result
