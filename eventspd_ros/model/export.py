"""Both phases as AOTInductor packages: a folder that answers without this package's model code or a compiler.

    encode.pt2, decode.pt2   what torch.export and AOTInductor make of the steps of steps.py, weights inside
    package.json             the model's config, the sensor, the device, and the versions that made it

A package is made for one sensor and one kind of device, and runs under the torch version that made it.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import nn

from eventspd_ros.events.pitch import seen_hw
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.config import ModelConfig
from eventspd_ros.model.event_encoder import FeatureField
from eventspd_ros.model.keypoint_model import KeypointModel
from eventspd_ros.model.point_depth import PointDepthModel
from eventspd_ros.model.presets import build_model
from eventspd_ros.model.stepped import FEWEST_EVENTS, FEWEST_QUERIES, MOST_QUERIES, SteppedModel
from eventspd_ros.model.steps import DecodeStep, EncodeStep
from eventspd_ros.text import first_line
from eventspd_ros.whole import write_whole

MANIFEST, PHASES = "package.json", ("encode", "decode")
MOST_EVENTS = 1 << 24


def export_phases(model: PointDepthModel, height: int, width: int) -> dict[str, torch.export.ExportedProgram]:
    """encode and decode of a model on its device and a sensor as exported programs, for any number of events and
    queries; both in the pixels, or cells, that the model sees."""
    if not isinstance(model, PointDepthModel):
        raise ValueError(f"preset {model.config.preset!r} is an encoder: it answers no queries")
    device = model.device
    height, width = seen_hw(model.config, height, width)
    encode, decode = EncodeStep(model, height, width).eval(), DecodeStep(model, height, width).eval()
    packed = torch.zeros(FEWEST_EVENTS, dtype=torch.int32, device=device)
    shape = model.memory_shape(height, width)
    memory = () if shape is None else (torch.zeros(1, *shape, device=device),)
    events = torch.export.Dim("events", min=2, max=MOST_EVENTS)
    count = torch.export.Dim("queries", min=2, max=MOST_QUERIES)
    with torch.no_grad():
        found = encode(packed, *memory)
        cache = tuple(tensor.clone() for tensor in found[: len(found) - len(memory)])
        uv_px = torch.zeros(1, FEWEST_QUERIES, 2, device=device)
        dims = {"packed": {0: events}} | ({"memory": None} if memory else {})
        return {
            "encode": _export(encode, (packed, *memory), dims),
            "decode": _export(decode, (uv_px, *cache), ({1: count}, tuple(None for _ in cache))),
        }


def _export(step: nn.Module, inputs: tuple, shapes) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        return torch.export.export(step, inputs, dynamic_shapes=shapes, strict=False)


def write_package(model: PointDepthModel, height: int, width: int, folder: str | Path) -> None:
    """Compile both phases for the model's device. ValueError, one line: no compiler, or the folder is not free."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise ValueError(f"{folder}: is there already and is no package; name another folder")
    programs = export_phases(model, height, width)
    folder.mkdir(parents=True, exist_ok=True)
    for phase, program in programs.items():
        try:
            torch._inductor.aoti_compile_and_package(program, package_path=str(folder.resolve() / f"{phase}.pt2"))
        except Exception as error:  # Inductor raises what its compiler left behind
            raise ValueError(
                f"{folder}: {phase} does not compile for {model.device.type}: {first_line(error)[:300]}"
            ) from None
    manifest = {
        "config": model.config.to_dict(),
        "sensor": f"{width}x{height}",
        "device": model.device.type,
        "trained": model.trained,
        "torch": torch.__version__,
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1))


def load_package(folder: str | Path, device: torch.device | str = "cpu") -> SteppedModel:
    """What write_package() left, as a model for a Predictor. ValueError, one line: unreadable, or for another device
    or torch version."""
    folder, device = Path(folder), torch.device(device)
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        model = build_model(ModelConfig.from_dict(manifest["config"]))
        width, height = (int(side) for side in manifest["sensor"].split("x"))
        made_for, version, trained = manifest["device"], manifest["torch"], bool(manifest["trained"])
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder}: is no exported package: {first_line(error)[:300]}") from None
    if not isinstance(model, PointDepthModel) or model.config.input != "events":
        raise ValueError(f"{folder}: is no exported package: preset {model.config.preset!r} has no encode and decode")
    if made_for != device.type:
        raise ValueError(f"{folder}: was exported for {made_for}, not {device.type}; export it again with --device")
    if version != torch.__version__:
        raise ValueError(f"{folder}: was exported with torch {version}, this is {torch.__version__}; export it again")
    try:
        encode, decode = (torch._inductor.aoti_load_package(str(folder.resolve() / f"{name}.pt2")) for name in PHASES)
    except Exception as error:  # a damaged archive fails in the loader, in many ways
        raise ValueError(f"{folder}: cannot be loaded: {first_line(error)[:300]}") from None
    made = SteppedModel(model, (height, width), encode, decode, device)
    made.trained = trained
    return made


def load_model(path: str | Path, device: torch.device | str = "cpu") -> KeypointModel | FeatureField:
    """A checkpoint (a file) or an exported package (a folder), ready for a Predictor unless it is of an encoder.
    ValueError as theirs."""
    return load_package(path, device) if Path(path).is_dir() else load_checkpoint(path, device)
