"""`eventspd info`, `convert-f3`, `export`, `pretrain`, `pseudo-label` and `train`: models and how they are made."""

from __future__ import annotations

from pathlib import Path

from eventspd_ros.cli.shared import Command, device, sensor_size, show
from eventspd_ros.resources import DEFAULT_WEIGHTS


def add_commands(command: Command) -> None:
    sub = command("info", info, "parameters and multiply-accumulates of a preset, by stage, counted on the model")
    sub.add_argument("--preset", default="eventspd", help="default eventspd")
    sub.add_argument("--sensor", type=sensor_size, default=(720, 1280), metavar="WxH", help="default 1280x720")
    sub.add_argument("--json", action="store_true", help="print the counts as JSON")

    sub = command("convert-f3", convert_f3, "turn an upstream F³ checkpoint into this package's safetensors")
    sub.add_argument("input", type=Path, metavar="IN.pth", help="the upstream checkpoint")
    sub.add_argument("--encoder", required=True, help="its configuration: hd_small, hd_micro, mvsec_small, …")
    sub.add_argument("--out", type=Path, required=True, help="OUT.safetensors")

    sub = command("export", export, "compile a model for one sensor and device: a folder that weights can name")
    sub.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"name or path ({DEFAULT_WEIGHTS})")
    sub.add_argument("--preset", help="random weights of a preset in place of --weights")
    sub.add_argument("--sensor", type=sensor_size, default=(720, 1280), metavar="WxH", help="default 1280x720")
    sub.add_argument("--device", type=device, default="cpu", help="cpu or cuda: packages do not move")
    sub.add_argument("--bfloat16", action="store_true", help="compute in bfloat16")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the package")

    sub = command("pretrain", pretrain, "pretrain F³ to predict the next 20 ms of events, as a YAML file says")
    sub.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of the run")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")

    text = "write a teacher's dense relative depth beside recordings that have images, for training"
    sub = command("pseudo-label", pseudo_label, text)
    sub.add_argument("dataset", metavar="DATASET", help="mvsec, tartanair or simulated")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="where its sequences lie; finished ones are kept")
    sub.add_argument("--teacher", type=Path, required=True, help="folder of Depth Anything V2, in transformers' layout")
    sub.add_argument("--device", type=device, help="cpu, cuda or cuda:N (default: CUDA where there is one)")

    sub = command("train", train, "train depth as a YAML file says; goes on where the folder's last checkpoint stands")
    sub.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of the run")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")


def info(options) -> None:
    from eventspd_ros.benchmark.model_info import model_info

    show(model_info(options.preset, options.sensor), options.json)


def convert_f3(options) -> None:
    from eventspd_ros.model.checkpoints import convert_f3_checkpoint, save_checkpoint

    save_checkpoint(convert_f3_checkpoint(options.input, options.encoder), options.out)
    print(options.out)


def export(options) -> None:
    from eventspd_ros.model.checkpoints import load_checkpoint
    from eventspd_ros.model.export import write_package
    from eventspd_ros.model.presets import build_model
    from eventspd_ros.resources import find_weights

    model = build_model(options.preset) if options.preset else load_checkpoint(find_weights(options.weights))
    model = model.to(options.device)
    model.in_bfloat16 = options.bfloat16
    write_package(model, *options.sensor, options.out)
    print(options.out)


def pretrain(options) -> None:
    from eventspd_ros.training.config import PretrainConfig
    from eventspd_ros.training.pretraining import pretrain_task

    run_task(options, PretrainConfig, pretrain_task)


def pseudo_label(options) -> None:
    from tqdm import tqdm

    from eventspd_ros.training.pseudo_labels import label_jobs
    from eventspd_ros.training.teacher import load_teacher

    jobs = label_jobs(options.dataset, options.folder, load_teacher(options.teacher, options.device))
    count, done = (sum(getattr(job, name) for job in jobs) for name in ("count", "done"))
    with tqdm(total=count, initial=done, desc="labelling", unit="image") as bar:
        for job in jobs:
            job.run(bar.update)
    print(f"pseudo-labels of {len(jobs)} sequences → {options.folder}")


def train(options) -> None:
    from eventspd_ros.training.config import TrainConfig
    from eventspd_ros.training.depth_task import DepthTask

    run_task(options, TrainConfig, DepthTask)


def run_task(options, config_kind: type, build_task) -> None:
    """Read a run's config, build its task and train it."""
    from eventspd_ros.training.config import read_config, to_yaml
    from eventspd_ros.training.loop import Trainer

    config = read_config(options.config, config_kind)
    Trainer(build_task(config), config.run, config.optimizer, to_yaml(config), options.out).run()
    print(options.out)
