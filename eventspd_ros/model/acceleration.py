"""A model made fast for where it runs: `acceleration` of the node, of a replay and of a bench.

    eager      the model as it is, float32
    compiled   its steps through torch.compile; on CUDA in bfloat16, as CUDA graphs, with the kernels that pay
    openvino   its steps through OpenVINO, float32; on a CPU
    auto       compiled on CUDA; openvino on a CPU, where it is installed

Compiling takes a minute or two a sensor the first time (OpenVINO: seconds), and less afterwards, as what was compiled
is kept in the user's cache folder. What does not compile, or answers otherwise than the plain model, is said in one
line and left out.
"""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from enum import Enum
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from eventspd_ros.events.pitch import seen_hw
from eventspd_ros.events.types import EventWindow, ImageWindow
from eventspd_ros.events.uniform import model_window
from eventspd_ros.model.feature_cache import FeatureCache, StreamState
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.stepped import FEWEST_EVENTS, FEWEST_QUERIES, CapturedStep, Step, SteppedModel, stepped
from eventspd_ros.resources import cache_folder
from eventspd_ros.text import one_line

# Of Phase A: measured to pay on an H200 (docs/speed.md). Those of Phase B do not.
KERNELS = ("voxel_scatter", "convnext")
# Shapes that are ready before the first window: up to so many events and queries, in powers of two.
MOST_EVENTS, MOST_QUERIES = 1 << 19, 1024
# Between a depth of the compiled steps and the plain model's, in float32 and in bfloat16 (docs/speed.md).
LARGEST_DIFFERENCE = {False: 5e-3, True: 5e-2}
CHECKED_QUERIES = 64


class Acceleration(str, Enum):
    """See above."""

    AUTO = "auto"
    EAGER = "eager"
    COMPILED = "compiled"
    OPENVINO = "openvino"


def accelerate(
    model: KeypointModel, how: Acceleration | str = "auto", say: Callable[[str], object] | None = None
) -> KeypointModel:
    """The model, or one that answers alike and faster. A package (export.py) and a model on images stay as they are.

    say(): gets a line for each step that takes long or fails; None: stderr does. ValueError: there is no such
    acceleration.
    """
    how = Acceleration(how)
    if how == Acceleration.AUTO:
        how = _fastest(model.device.type)
    if how == Acceleration.EAGER or not isinstance(model, PointDepthModel) or model.config.input != "events":
        return model
    if how == Acceleration.OPENVINO and (model.device.type != "cpu" or not find_spec("openvino")):
        raise ValueError(
            f"acceleration openvino on {model.device.type}: it runs on a CPU (device: cpu), where it is installed "
            "(pip install openvino)"
        )
    return CompiledModel(model, say or partial(print, file=sys.stderr), how)


def _fastest(device: str) -> Acceleration:
    if device == "cuda":
        return Acceleration.COMPILED
    return Acceleration.OPENVINO if device == "cpu" and find_spec("openvino") else Acceleration.EAGER


class CompiledModel:
    """encode() and decode() as PointDepthModel has them, through steps compiled for each sensor that prepare() names.

    Where compiling failed, and for a sensor that was never named, the plain model answers. One thread may encode while
    others decode.
    """

    sensor_hw: tuple[int, int] | None = None

    def __init__(
        self, model: PointDepthModel, say: Callable[[str], object], how=Acceleration.COMPILED, backend: str = "inductor"
    ):
        """backend: of torch.compile."""
        self.config, self.trained, self.device = model.config, model.trained, model.device
        self.plain, self._say, self._how, self._backend = model.eval(), say, how, backend
        self.plain.in_bfloat16 = self.device.type == "cuda"
        self._made: dict[tuple[int, int], SteppedModel | None] = {}
        self._kernels = ExitStack()
        _keep_what_is_compiled()

    def prepare(self, height: int, width: int) -> None:
        """Compile for that sensor and get it ready, once. ValueError: the model needs a larger one."""
        if (height, width) in self._made:
            return
        self.plain.memory_shape(*seen_hw(self.config, height, width))
        self._made[height, width] = made = self._compile(height, width)
        if made is None:
            self.plain.prepare(height, width)

    def drop_tables(self) -> None:
        """Forget all that prepare() built."""
        self._made.clear()
        self._kernels.close()
        self.plain.drop_tables()

    def encode(
        self, windows: Sequence[EventWindow | ImageWindow], states: list[StreamState]
    ) -> tuple[list[FeatureCache], list[StreamState]]:
        """As PointDepthModel.encode()."""
        made = self._made.get(windows[0].sensor_hw) if windows else None
        return (made or self.plain).encode(windows, states)

    def decode(self, cache: FeatureCache, uv_px: Tensor) -> tuple[Tensor, Tensor]:
        """As PointDepthModel.decode()."""
        made = self._made.get((cache.height, cache.width))
        return (made or self.plain).decode(cache, uv_px)

    def prior_depth(self, cache: FeatureCache, uv_px: Tensor) -> Tensor | None:
        """As PointDepthModel.prior_depth()."""
        return self.plain.prior_depth(cache, uv_px)

    def _compile(self, height: int, width: int) -> SteppedModel | None:
        """The fastest form that works and answers as the plain model does; None: none does."""
        for what, make in self._forms():
            what = f"{width}x{height}: {what}"
            self._say(f"{what}: compiling, which takes longest the first time")
            start_s = time.monotonic()
            try:
                with ExitStack() as switched_on:
                    made = make(height, width, switched_on)
                    self._check(made, height, width)
                    self._kernels.push(switched_on.pop_all())
            except Exception as error:  # whatever a compiler, a driver or a full card raises
                self._say(f"{what}: left out: {one_line(f'{type(error).__name__}: {error}', 300)}")
                continue
            self._say(f"{what}: ready after {time.monotonic() - start_s:.0f} s")
            return made
        return None

    def _forms(self) -> Iterator[tuple[str, Callable[[int, int, ExitStack], SteppedModel]]]:
        """Names and makers of the forms to try, the fastest first."""
        if self._how == Acceleration.OPENVINO:
            yield "OpenVINO", self._through_openvino
            return
        if self.device.type == "cuda" and find_spec("triton"):
            yield "compiled steps with kernels", partial(self._steps, KERNELS)
        yield "compiled steps", partial(self._steps, ())

    def _through_openvino(self, height: int, width: int, switched_on: ExitStack) -> SteppedModel:
        from eventspd_ros.model.openvino import OpenVinoModel

        return OpenVinoModel(self.plain, height, width)

    def _steps(self, kernels: Sequence[str], height: int, width: int, switched_on: ExitStack) -> SteppedModel:
        model = copy.deepcopy(self.plain)  # the plain one keeps its layout and its forward()
        made = compiled_steps(model, height, width, switched_on, kernels, self._backend)
        _get_ready(made, height, width)
        return made

    @torch.inference_mode()
    def _check(self, made: SteppedModel, height: int, width: int) -> None:
        """RuntimeError: two windows one after another give other depths than the plain model's."""
        uv_px = torch.rand(CHECKED_QUERIES, 2, generator=torch.Generator().manual_seed(0))
        uv_px = (uv_px * torch.tensor([width, height]) - 0.5).to(self.device)
        window, answers = model_window(self.config, height, width), []
        for model in (self.plain, made):
            states = [StreamState()]
            for _ in range(2):
                (cache,), states = model.encode([window], states)
            answers.append(torch.stack(model.decode(cache, uv_px)).float())
        largest = ((answers[1] / answers[0]).log().abs()).max().item()
        if not largest <= LARGEST_DIFFERENCE[self.plain.in_bfloat16]:
            raise RuntimeError(f"depths differ from the plain model's by up to {largest:.3g} of a depth")


def compiled_steps(
    model: PointDepthModel,
    height: int,
    width: int,
    switched_on: ExitStack,
    kernels: Sequence[str] = (),
    backend: str = "inductor",
) -> SteppedModel:
    """The model's steps through torch.compile, on CUDA with its convolutions channels-last and as CUDA graphs; nothing
    is compiled before it first runs. The model's layout changes, and its forward() while switched_on is open.

    kernels: of model/kernels, which need Triton. backend: of torch.compile.
    """
    if model.device.type == "cuda":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
        torch.backends.cudnn.benchmark = True
    made = stepped(model, height, width)
    if kernels:
        from eventspd_ros.model.kernels.fuse import fused

        switched_on.enter_context(fused(made.encode_step, made.decode_step, kernels))
    made.encode_step = _compiled(made.encode_step, backend, sized=0)
    made.decode_step = _compiled(made.decode_step, backend, sized=1)
    if model.device.type == "cuda":
        made.encode_step, made.decode_step = (CapturedStep(s, most=64) for s in (made.encode_step, made.decode_step))
    return made


def _compiled(step: Step, backend: str, sized: int) -> Step:
    """sized: the dimension of the first input that differs from call to call."""
    compiled = torch.compile(step, backend=backend)

    def run(first: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        torch._dynamo.maybe_mark_dynamic(first, sized)  # or each size would be compiled anew
        return compiled(first, *others)

    return run


def _get_ready(made: SteppedModel, height: int, width: int) -> None:
    """Run each size of window and of request once, so that none waits for it later."""
    counts = [FEWEST_EVENTS << k for k in range((MOST_EVENTS // FEWEST_EVENTS).bit_length())]
    with torch.inference_mode():
        for count in counts:
            (cache,), _ = made.encode([model_window(made.config, height, width, count)], [StreamState()])
        for k in range((MOST_QUERIES // FEWEST_QUERIES).bit_length()):
            made.decode(cache, torch.zeros(FEWEST_QUERIES << k, 2, device=made.device))


def _keep_what_is_compiled() -> None:
    """In the user's cache folder, where torch's own default does not outlast the machine's next start."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
