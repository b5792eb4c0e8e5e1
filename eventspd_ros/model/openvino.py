"""A model's two phases on a CPU through OpenVINO: the same float32 numbers to rounding, in less of the time.

PyTorch runs a window of eventspd_lite as some four hundred small operations, each with threads to wake and a map to
write; OpenVINO fuses them ahead. Events become a field by the model's own compiled sums. One sensor each; a request is
padded to one of a few sizes, each compiled when the sensor becomes known.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from eventspd_ros.events.pitch import seen_hw
from eventspd_ros.events.types import EventWindow
from eventspd_ros.model.feature_cache import FeatureCache, list_tensors, put_tensors
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.stepped import SteppedModel
from eventspd_ros.model.steps import DecodeStep, event_encoder
from eventspd_ros.resources import cache_folder
from eventspd_ros.whole import whole_file

# Requests are padded to these; larger ones are decoded in parts.
QUERIES = (16, 32, 64, 128, 192, 256, 512, 1024)
FREE = torch.export.Dim("size", min=2, max=1 << 20)


class MapStep(nn.Module):
    """Phase A from the event field, as it lies in memory (1, H, W, C), and h."""

    def __init__(self, model: PointDepthModel):
        super().__init__()
        self.model = model

    def forward(self, field: Tensor, memory: Tensor | None = None) -> tuple[Tensor, ...]:
        tensors, memory = self.model.phase_a(field.permute(0, 3, 1, 2), memory)
        return (*list_tensors(tensors), *([] if memory is None else [memory]))


class WithoutEmpty(nn.Module):
    """A step of tensors that have elements alone, as OpenVINO has no others. shapes: of all inputs, in order."""

    def __init__(self, step: nn.Module, shapes: Sequence[torch.Size]):
        super().__init__()
        self.step, self.shapes = step, shapes

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        left = iter(given)
        inputs = [next(left) if shape.numel() else given[0].new_zeros(shape) for shape in self.shapes]
        return tuple(tensor.contiguous() for tensor in self.step(*inputs) if tensor.numel())


class ConvertedStep:
    """A step as OpenVINO has it, to be compiled for one size of its first input or several. Converting takes seconds,
    so that what came out is kept."""

    def __init__(self, step: nn.Module, examples: Sequence[Tensor], kept: Path, sized: int | None = None):
        """kept: the file that holds the step converted, or will. sized: the dimension of the first input whose size is
        free. What is raised, torch.export or OpenVINO raise."""
        self._step = step
        self._places = [place for place, tensor in enumerate(examples) if tensor.numel()]
        if not kept.exists():
            given = tuple(examples[place] for place in self._places)
            whole = WithoutEmpty(step, [tensor.shape for tensor in examples]).eval()
            free = None if sized is None else ({sized: FREE}, *(None for _ in given[1:]))
            _convert(whole, given, free and (free,), kept)
        self._model = _core().read_model(kept)

    def compiled(self, examples: Sequence[Tensor]) -> CompiledStep:
        """For inputs of those sizes, on as many threads as an operation of torch has."""
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # or what encodes and what answers would share one core
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "SNIPPETS_MODE": "DISABLE",  # its fused attention crashes at L4's shapes (2026.4)
        }
        model = self._model.clone()
        model.reshape({place: list(examples[own].shape) for place, own in enumerate(self._places)})
        with torch.no_grad():
            shapes = [tensor.shape for tensor in self._step(*examples)]
        return CompiledStep(_core().compile_model(model, "CPU", settings), self._places, shapes)


@cache
def _core():
    """One for the process, and for ever: a Core lends the thread that first compiles a stack for signals, and where
    several end in the order they began, the thread is left with one that is gone, and dies of its next signal (2026.4).
    """
    from openvino import Core

    return Core()


def _convert(step: nn.Module, inputs: tuple[Tensor, ...], free: tuple | None, path: Path) -> None:
    """Into a file. By OpenVINO's front end itself, as its convert_model() tells its makers that it was used."""
    from openvino import save_model
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with _quiet(), torch.no_grad():
        program = torch.export.export(step, inputs, dynamic_shapes=free, strict=False)
        decoder = TorchFXPythonDecoder.from_exported_program(program)
    front_end = FrontEndManager().load_by_framework("pytorch")
    model = front_end.convert(front_end.load(decoder))
    with whole_file(path) as unfinished:  # its weights go beside it, and are there before it
        save_model(model, unfinished, compress_to_fp16=False)
        os.replace(unfinished.with_suffix(".bin"), path.with_suffix(".bin"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and OpenVINO log about themselves."""
    root, nothing, keep_back = logging.getLogger(), logging.NullHandler(), lambda record: False
    root.addHandler(nothing)
    root.addFilter(keep_back)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(keep_back)
        root.removeHandler(nothing)


def _kept(model: PointDepthModel, height: int, width: int, moment: str) -> Path:
    """Where a model's steps for a sensor are kept, less what they are called: another place for other weights, code or
    versions. In the folder `moment` where the user's cannot be written, and what has no weights yet, as it has others
    each time."""
    import openvino

    folder = cache_folder() / "openvino"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not model.trained or not os.access(folder, os.W_OK):
        return Path(moment) / "steps"
    told = hashlib.sha256(json.dumps([model.config.to_dict(), torch.__version__, openvino.__version__]).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        told.update(path.read_bytes())
    for tensor in model.state_dict().values():
        told.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return folder / f"{width}x{height}-{told.hexdigest()[:16]}"


class CompiledStep:
    """A step through OpenVINO, for inputs of one size; float32. Not for two threads at once."""

    def __init__(self, compiled, places: list[int], shapes: list[torch.Size]):
        """places: of the inputs that have elements. shapes: of all outputs."""
        self._request, self._places, self._shapes = compiled.create_infer_request(), places, shapes

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = [np.ascontiguousarray(inputs[place].numpy()) for place in self._places]
        self._request.infer(given, share_inputs=True, share_outputs=True)
        found = (torch.from_numpy(tensor.data.copy()) for tensor in self._request.output_tensors)
        return tuple(next(found) if shape.numel() else torch.zeros(shape) for shape in self._shapes)


class OpenVinoModel(SteppedModel):
    """encode() and decode() on one sensor through OpenVINO. One thread may encode while others decode."""

    def __init__(self, model: PointDepthModel, height: int, width: int):
        """model: on a CPU, in eval(). Its table for the sensor stays prepared: the field is summed with it."""
        model.prepare(height, width)
        with TemporaryDirectory() as moment:
            encode, self._sizes = self._compiled(model, height, width, _kept(model, height, width, moment))
        super().__init__(model, (height, width), encode, self._sizes[-1])
        self._encoder = event_encoder(model)
        self._field = torch.zeros(math.prod(seen_hw(model.config, height, width)), model.encoder.field_channels)

    def _compiled(
        self, model: PointDepthModel, height: int, width: int, kept: Path
    ) -> tuple[CompiledStep, list[CompiledStep]]:
        """Phase A, and Phase B for each size of request."""
        seen = seen_hw(model.config, height, width)
        shape = model.memory_shape(*seen)
        inputs = [torch.zeros(1, *seen, model.encoder.field_channels)]
        inputs += [] if shape is None else [torch.zeros(1, *shape)]
        encode = ConvertedStep(MapStep(model).eval(), inputs, kept.with_suffix(".encode.xml")).compiled(inputs)
        cache = encode(*inputs)[: None if shape is None else -1]
        requests = [(torch.zeros(1, count, 2), *cache) for count in QUERIES]
        decode = ConvertedStep(DecodeStep(model, *seen).eval(), requests[0], kept.with_suffix(".decode.xml"), sized=1)
        return encode, [decode.compiled(request) for request in requests]

    def _encode(self, window: EventWindow, memory: Tensor | None) -> tuple[FeatureCache, Tensor | None]:
        field = self._encoder.scatter([window], self._field).permute(0, 2, 3, 1)
        shape = self._memory_shape
        if shape is not None and memory is None:
            memory = torch.zeros(1, *shape)
        found = self.encode_step(field, *([] if memory is None else [memory]))
        tensors = put_tensors(self.layout, found[: self._tensors])
        return FeatureCache.of(window, tensors), None if shape is None else found[self._tensors]

    def _decode(self, cache: FeatureCache, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        finite = uv_px.isfinite().all(dim=-1)  # of others OpenVINO makes numbers
        answers = [self._decode_part(cache, part) for part in uv_px.nan_to_num(0, 0, 0).split(QUERIES[-1])]
        depth, stddev = (torch.where(finite, torch.cat(column), torch.nan) for column in zip(*answers, strict=True))
        return depth, stddev

    def _decode_part(self, cache: FeatureCache, uv_px: Tensor) -> tuple[Tensor, ...]:
        """At most QUERIES[-1] keypoints, by the smallest step that holds them."""
        count, place = len(uv_px), bisect_left(QUERIES, len(uv_px))
        points = nn.functional.pad(uv_px, (0, 0, 0, QUERIES[place] - count))[None]
        return tuple(answer[0, :count] for answer in self._sizes[place](points, *list_tensors(cache.tensors)))
