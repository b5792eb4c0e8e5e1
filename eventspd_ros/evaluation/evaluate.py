"""How good is a model on a set: its answers beside those of baselines and of other models, on the same pixels.

What `eventspd evaluate` runs. docs/evaluation.md defines every number.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eventspd_ros import __version__
from eventspd_ros.cores import cores
from eventspd_ros.datasets.catalogue import open_dataset
from eventspd_ros.datasets.sequence import Sequence
from eventspd_ros.evaluation.asking.answers import Method, SceneAnswers, collect_answers
from eventspd_ros.evaluation.asking.baselines import fit_baselines
from eventspd_ros.evaluation.asking.dense_baseline import fit_scale
from eventspd_ros.evaluation.asking.partial import Partial, fingerprint
from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.results import EvaluationResult, write_json
from eventspd_ros.evaluation.scoring.protocols import DisparityProtocol, Protocol
from eventspd_ros.evaluation.scoring.summary import score_by_protocol, summarise
from eventspd_ros.model.acceleration import accelerate
from eventspd_ros.model.checkpoints import load_checkpoint
from eventspd_ros.model.dense import load_dense
from eventspd_ros.whole import check_output

RESET = " (memory reset)"


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated and what came out. methods: the first is the judged one."""

    sequences: list[Sequence]
    settings: Settings
    methods: list[Method]
    answers: list[SceneAnswers]
    result: EvaluationResult


def evaluate_checkpoints(
    folder: Path | str,
    weights: list[Path | str],
    train_folder: Path | str | None = None,
    settings: Settings | None = None,
    dataset: str = "simulated",
    device: str = "cpu",
    protocol: Protocol | DisparityProtocol | None = None,
    dense: tuple[Path | str, Path | str] | None = None,
    progress: Callable[[int, int], object] | None = None,
    out: Path | str | None = None,
    acceleration: str = "eager",
) -> Evaluation:
    """Evaluates checkpoints on a dataset. weights: the first is the model in question, also with its memory reset; the
    others stand beside it. train_folder: the set it was trained on, for the baselines; None: without them. protocol: by
    which the uniformly drawn pixels are scored too, of choose_protocol(); a centred one moves the windows. dense: F³
    weights and a Depth Anything V2 folder of load_dense(), to stand beside it too.

    On the CPU one process a core streams scenes; a script that calls this needs `if __name__ == "__main__":`.
    progress: called with (scenes done since the last call, scenes in all), a scene counted once a method. out: where
    the result is written; until then finished scenes lie beside it in OUT.partial, and the same call goes on from them.
    acceleration: of model/acceleration.py, as a node would run the checkpoints; they encode one scene after another in
    this process, where eager ones encode eight at once.
    """
    if out is not None:
        check_output(out)
    settings = replace(settings or Settings(), centred=protocol is not None and protocol.centred)
    sequences = open_dataset(dataset, folder)
    training = None if train_folder is None else open_dataset(dataset, train_folder)
    baselines = {} if training is None else fit_baselines(training, settings.seed)
    models = [load_checkpoint(path, device) for path in weights]
    faster = {model: accelerate(model, acceleration) for model in models}
    methods = [replace(m, model=faster[m.model]) for m in _methods(models, [Path(path) for path in weights])]
    if dense is not None:
        methods.append(_dense_method(dense, device, training, settings.seed))
    total = len(sequences) * len(methods)
    plain = device == "cpu" and acceleration == "eager"
    workers = cores() if plain else 1  # what was compiled is of this process
    report = None if progress is None else lambda done: progress(done, total)
    work = nullcontext()
    if out is not None:
        work = Partial(f"{out}.partial", _configuration(sequences, weights, dense, settings, device, acceleration))
    with work as partial:
        answers = collect_answers(sequences, methods, baselines, settings, workers, report, partial)
        result = EvaluationResult(
            set=str(folder),
            dataset=dataset,
            train_set=None if train_folder is None else str(train_folder),
            weights=[str(path) for path in weights],
            dense=None if dense is None else [str(path) for path in dense],
            version=__version__,
            settings=settings,
            protocol=protocol and {protocol.name: score_by_protocol(protocol, sequences, answers)},
            summary=summarise(answers, methods[0].name),
        )
        if out is not None:
            write_json(result, out)
    return Evaluation(sequences, settings, methods, answers, result)


def _configuration(
    sequences: list[Sequence], weights: list, dense: tuple | None, settings: Settings, device: str, acceleration: str
) -> dict:
    """What finished answers depend on."""
    return {
        "sequences": [[s.dataset, s.name, len(s.times_ns), list(map(int, s.recorded_ns))] for s in sequences],
        "weights": [fingerprint(path) for path in weights],
        "dense": [] if dense is None else [fingerprint(dense[0]), fingerprint(Path(dense[1]) / "model.safetensors")],
        "settings": asdict(settings),
        "device": device,
        "acceleration": acceleration,
        "version": __version__,
    }


def _dense_method(
    dense: tuple[Path | str, Path | str], device: str, training: list[Sequence] | None, seed: int
) -> Method:
    """The dense baseline; it has no memory, so that only windows that are asked need be encoded."""
    model = load_dense(*dense, device)
    if training is not None:
        fit_scale(model, training, seed)
    return Method("dense", model, reset=True)


def _methods(models: list, paths: list[Path]) -> list[Method]:
    """The first model, the same with its memory reset if it has one, then the others. Two of one preset are named by
    file too, files of one name by their whole path."""
    presets, stems = [model.config.preset for model in models], [path.stem for path in paths]
    files = [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]
    names = [
        preset if presets.count(preset) == 1 else f"{preset}:{file}"
        for preset, file in zip(presets, files, strict=True)
    ]
    methods = [Method(name, model) for name, model in zip(names, models, strict=True)]
    if models[0].memory_shape(480, 640) is not None:
        methods.insert(1, Method(names[0] + RESET, models[0], reset=True))
    return methods
