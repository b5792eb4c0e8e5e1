"""`eventspd …`: every command of the package. Rooms are imported when their command runs."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eventspd_ros import __version__


def main(arguments: list[str] | None = None) -> int:
    """The command line; errors a user can mend are one line on stderr and exit status 2."""
    options = build_parser().parse_args(arguments)
    # Ends as Ctrl-C does: what started other processes ends them too.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"eventspd {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def build_parser() -> argparse.ArgumentParser:
    from eventspd_ros.resources import DEFAULT_WEIGHTS

    parser = argparse.ArgumentParser(prog="eventspd", description="Metric depth at keypoints from an event camera.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("demo", demo, "play a bag through the node and record its answers; leaves summary.json, overlay.png")
    sub.add_argument("--bag", type=Path, help="rosbag2 with event packets; without it one is simulated")
    sub.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results")
    sub.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"name or path; '' for random ones ({DEFAULT_WEIGHTS})")

    sub = command("decode", decode, "decode a .raw file, rosbag2 or HDF5 to arrays")
    sub.add_argument("input", type=Path, metavar="IN")
    sub.add_argument("--out", type=Path, required=True, help="OUT.npz or OUT.h5")

    sub = command("info-events", info_events, "count, duration, rate, size, encoding and gaps of a recording")
    sub.add_argument("input", type=Path, metavar="IN")
    sub.add_argument("--json", action="store_true")

    sub = command("simulate", simulate, "write simulated events with exact depth: HDF5 for training, or rosbag2")
    sub.add_argument("--out", type=Path, help="folder of the set; what is there already is kept")
    sub.add_argument("--domains", nargs="+", default=["drive", "indoor", "fly"], metavar="DOMAIN")
    sub.add_argument("--scenes", type=int, default=10, help="scenes of every domain (default 10)")
    sub.add_argument("--seed", type=int, default=0, help="of the first scene; the others count on (default 0)")
    sub.add_argument("--duration", type=float, default=1.0, help="of a scene, s (default 1)")
    sub.add_argument("--preset", default="normal", help="event sensor: clean, normal, night (default normal)")
    sub.add_argument("--size", default="346x260", help="WIDTHxHEIGHT, px (default 346x260)")
    sub.add_argument("--intrinsics", nargs=4, type=float, metavar=("FX", "FY", "CX", "CY"), help="px")
    sub.add_argument("--distortion", nargs=4, type=float, metavar=("K1", "K2", "P1", "P2"), default=[0.0] * 4)
    sub.add_argument("--format", default="hdf5", help="hdf5 or rosbag2 (default hdf5)")
    sub.add_argument("--label-period-us", type=int, default=8333, help="time between depth maps in HDF5 (8333)")
    sub.add_argument("--images", action="store_true", help="a camera's picture beside every depth map, for a teacher")
    sub.add_argument("--workers", type=int, help="processes (default: one a core)")
    sub.add_argument("--preview", type=Path, metavar="OUT.png", help="draw the first scene of every domain")

    text = "write a teacher's dense relative depth beside recordings that have images, for training"
    sub = command("pseudo-label", pseudo_label, text)
    sub.add_argument("dataset", metavar="DATASET", help="mvsec, tartanair or simulated")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="where its sequences lie; finished ones are kept")
    sub.add_argument("--teacher", type=Path, required=True, help="folder of Depth Anything V2, in transformers' layout")
    sub.add_argument("--device", help="cpu, cuda or cuda:N (default: CUDA where there is one)")

    sub = command("evaluate", evaluate, "accuracy and uncertainty of checkpoints on a set, beside baselines")
    sub.add_argument("input", type=Path, metavar="SET", help="folder of the dataset; simulated scenes by default")
    sub.add_argument("--weights", type=Path, nargs="+", required=True, help="the model, then others to set beside it")
    sub.add_argument("--train-set", type=Path, metavar="SET", help="what it was trained on, for the baselines")
    sub.add_argument("--dataset", default="simulated", help="simulated, m3ed, dsec, mvsec, tartanair")
    sub.add_argument("--every", type=int, default=4, help="ask at every how many labels (default 4)")
    sub.add_argument("--queries", type=int, help="pixels drawn at a label (default 512; by a protocol all with depth)")
    sub.add_argument("--protocol", help="score as published too: e2depth, hmnet, f3, dsec")
    sub.add_argument("--alignment", default="none", help="of the protocol: none, median, scale-and-shift")
    sub.add_argument("--warm-up", type=int, default=8, help="windows before the first question (default 8)")
    sub.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    sub.add_argument("--dense", nargs=2, type=Path, metavar=("F3", "DAV2"), help="beside F³ + Depth Anything V2")
    sub.add_argument("--diagnostics", action="store_true", help="what the decoder does: routing, attention, offsets")
    sub.add_argument("--sweeps", action="store_true", help="fewer events, noise, gaps, a camera that stops, K")
    sub.add_argument("--report", type=Path, metavar="FOLDER", help="write report.html and report.json, with latencies")
    sub.add_argument("--out", type=Path, metavar="OUT.json", help="everything, scene by scene")
    sub.add_argument("--json", action="store_true", help="print that instead of tables")

    text = "play a bag through the model, offline or --online through the node; accuracy where it knows depth"
    sub = command("replay", replay, text)
    sub.add_argument("input", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3 file with event packets")
    sub.add_argument("--weights", nargs="+", default=[DEFAULT_WEIGHTS], metavar="W", help="names or paths, as evaluate")
    sub.add_argument("--online", action="store_true", help="through eventspd_node over DDS (needs ROS 2)")
    sub.add_argument(
        "--rate", type=float, default=1.0, help="online: speed; 0: as fast as the node answers (default 1)"
    )
    sub.add_argument(
        "--query-mode", default="covering", help="which window answers: latest, covering, exact (covering)"
    )
    sub.add_argument("--events", metavar="TOPIC", help="topics are found by their type where there is one of it")
    sub.add_argument("--camera-info", metavar="TOPIC")
    sub.add_argument("--keypoints", metavar="TOPIC", help="without one: corners of the events")
    sub.add_argument("--keypoints-layout", metavar="LAYOUT", help="as the node's parameter; needed for a PointCloud")
    sub.add_argument("--keypoints-coordinates", default="pixel", metavar="C", help="pixel, rectified or normalized")
    sub.add_argument("--depth", metavar="TOPIC", help="ground truth: Image, 32FC1 (m) or 16UC1 (mm), of the raw sensor")
    sub.add_argument("--lidar", metavar="TOPIC", help="ground truth: PointCloud2, with --extrinsics")
    text = "T_camera_lidar (x_camera = T x_lidar): YAML or JSON file, or x y z qx qy qz qw"
    sub.add_argument("--extrinsics", nargs="+", metavar="T", help=text)
    sub.add_argument("--fx", type=float, help="focal length in px, for a bag without camera_info")
    sub.add_argument("--queries", type=int, default=512, help="pixels drawn at a depth label (default 512)")
    sub.add_argument("--protocol", help="score as published too: e2depth, hmnet")
    sub.add_argument("--alignment", default="none", help="of the protocol: none, median, scale-and-shift")
    sub.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    text = "result (OUT.json), answers (OUT.csv, or a bag in the folder OUT); several may be given"
    sub.add_argument("--out", type=Path, nargs="+", default=[], metavar="OUT", help=text)
    sub.add_argument("--json", action="store_true", help="print the result as JSON instead of tables")

    sub = command("calibrate", calibrate, "fit the temperature of a checkpoint's uncertainty on validation scenes")
    sub.add_argument("input", type=Path, metavar="SET", help="scenes it was neither trained nor is tested on")
    sub.add_argument("--weights", type=Path, required=True)
    sub.add_argument("--out", type=Path, required=True, help="the checkpoint with the temperature")
    sub.add_argument("--half", action="store_true", help="store its weights in float16")
    sub.add_argument("--dataset", default="simulated", help="simulated, m3ed, dsec, mvsec, tartanair")
    sub.add_argument("--json", action="store_true")

    sub = command("convert-f3", convert_f3, "turn an upstream F³ checkpoint into this package's safetensors")
    sub.add_argument("input", type=Path, metavar="IN.pth")
    sub.add_argument("--encoder", required=True, help="its configuration: hd_small, hd_micro, mvsec_small, …")
    sub.add_argument("--out", type=Path, required=True, help="OUT.safetensors")

    sub = command("export", export, "compile a model for one sensor and device: a folder that weights can name")
    sub.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"name or path ({DEFAULT_WEIGHTS})")
    sub.add_argument("--preset", help="random weights of a preset in place of --weights")
    sub.add_argument("--sensor", type=sensor_size, default=(720, 1280), metavar="WxH", help="default 1280x720")
    sub.add_argument("--device", default="cpu", help="cpu or cuda: packages do not move")
    sub.add_argument("--bfloat16", action="store_true", help="compute in bfloat16")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER")

    sub = command("info", info, "parameters and multiply-accumulates of a preset, by stage, counted on the model")
    sub.add_argument("--preset", default="eventspd")
    sub.add_argument("--sensor", type=sensor_size, default=(720, 1280), metavar="WxH", help="default 1280x720")
    sub.add_argument("--json", action="store_true")

    sub = command("pretrain", pretrain, "pretrain F³ to predict the next 20 ms of events, as a YAML file says")
    sub.add_argument("config", type=Path, metavar="CONFIG")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")

    sub = command("train", train, "train depth as a YAML file says; goes on where the folder's last checkpoint stands")
    sub.add_argument("config", type=Path, metavar="CONFIG")
    sub.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")

    text = "train variants of a model with one budget, ask them the same, write one table; finished ones are kept"
    sub = command("ablate", ablate, text)
    sub.add_argument("config", type=Path, metavar="CONFIG")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="runs, ablations.md, ablations.json")
    sub.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these variants, and no table yet")

    bench = command("bench", None, "measure speed").add_subparsers(dest="what", required=True, metavar="WHAT")

    def benchmark(name: str, measure, text: str, repetitions: int) -> argparse.ArgumentParser:
        """measure: of options, to a report with its name under "bench"."""
        sub = bench.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run_benchmark, measure=measure)
        sub.add_argument("--repetitions", type=int, default=repetitions, help=f"after warm-up (default {repetitions})")
        sub.add_argument("--against", type=Path, metavar="FILE", help="an earlier --json of it, to print ratios to")
        sub.add_argument("--json", action="store_true")
        return sub

    sub = benchmark("decode", bench_decode, "events decoded a second, one core", 30)
    sub.add_argument("input", type=Path, metavar="FILE")

    sub = benchmark("windows", bench_windows, "events cut into windows a second, one core", 30)
    sub.add_argument("input", type=Path, metavar="FILE")

    sub = benchmark("model", bench_model, "milliseconds to encode a window and to decode K keypoints", 30)
    sub.add_argument("--preset", default="eventspd")
    sub.add_argument("--sensor", type=sensor_size, default=(720, 1280), metavar="WxH", help="default 1280x720")
    sub.add_argument("--k", type=query_counts, default=(1, 64, 256, 1024), help="e.g. 1,64,256,1024")
    sub.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")

    sub = benchmark(
        "shortcuts", bench_shortcuts, "what a float16 voxel table and merged tokens save, and do to depth", 5
    )
    sub.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"name or path ({DEFAULT_WEIGHTS})")
    sub.add_argument("--sensor", type=sensor_size, default=(720, 1280), metavar="WxH", help="default 1280x720")
    sub.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")

    sub = benchmark("gpu", bench_gpu, "the latency promise on one GPU: dense baseline, all variants, floors", 50)
    sub.add_argument("--sensor", type=sensor_size, nargs="+", default=[(720, 1280), (480, 640)], metavar="WxH")
    sub.add_argument("--device", default="cuda", help="cuda or cuda:N")
    sub.add_argument("--budget", type=float, default=480.0, help="start nothing after so many seconds (default 480)")
    sub.add_argument("--out", type=Path, metavar="OUT.json", help="written after every measurement")

    sub = benchmark("train", bench_train, "milliseconds of a training step: forward, backward, optimizer", 10)
    sub.add_argument("--preset", default="eventspd_lite")
    sub.add_argument("--sensor", type=sensor_size, default=(260, 346), metavar="WxH", help="default 346x260")
    sub.add_argument("--batch", type=int, default=2, help="samples a step, of 4 windows and 512 queries (default 2)")

    sub = benchmark("data", bench_data, "windows a second of the training feed, beside what training consumes", 10)
    sub.add_argument("input", type=Path, metavar="SET", nargs="?", help="a simulated set; without it one is simulated")
    sub.add_argument("--preset", default="eventspd_lite", help="the model that trains")
    sub.add_argument("--seconds", type=float, default=10.0, help="for the feed (default 10); training takes its time")

    sub = benchmark("node", bench_node, "events a second that the whole node bears over DDS, and its latencies", 3)
    sub.add_argument("--preset", default="eventspd_lite")
    sub.add_argument("--sensor", type=sensor_size, default=(260, 346), metavar="WxH", help="default 346x260")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def sensor_size(text: str) -> tuple[int, int]:
    """ "1280x720" → (720, 1280), height first."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a sensor size such as 1280x720")
    return int(height), int(width)


def query_counts(text: str) -> tuple[int, ...]:
    """ "1,64,256" → (1, 64, 256)."""
    if not all(part.isdigit() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of counts such as 1,64,256")
    return tuple(int(part) for part in text.split(","))


def show(values: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    flat = dict(flatten(values))
    width = max(map(len, flat))
    for key, value in flat.items():
        number = isinstance(value, int) and not isinstance(value, bool)
        print(f"{key:<{width}}  {value:,}" if number else f"{key:<{width}}  {value}")


def flatten(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested dictionaries as dotted keys."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def demo(options) -> None:
    from eventspd_ros.ros.demo import run_demo, table

    summary = run_demo(options.bag, options.out, options.weights)
    print(f"\n{table(summary)}\nsummary: {options.out / 'summary.json'}   picture: {options.out / 'overlay.png'}")


def decode(options) -> None:
    from eventspd_ros.events.files.export import decode_to

    count = decode_to(options.input, options.out)
    print(f"{count:,} events → {options.out}")


def info_events(options) -> None:
    from eventspd_ros.events.files.summary import summarise_events

    show(summarise_events(options.input), options.json)


def simulate(options) -> None:
    from eventspd_ros.simulation.camera import PinholeCamera, parse_size
    from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set
    from eventspd_ros.simulation.preview import write_preview

    if options.out is None and options.preview is None:
        raise ValueError("nothing to write: give --out FOLDER, --preview OUT.png, or both")
    width, height = parse_size(options.size)
    centred = PinholeCamera.centred(width, height)
    intrinsics = options.intrinsics or (centred.fx, centred.fy, centred.cx, centred.cy)
    config = SetConfig(
        domains=tuple(options.domains),
        scenes=options.scenes,
        seed=options.seed,
        duration_s=options.duration,
        preset=options.preset,
        camera=PinholeCamera(width, height, *intrinsics, distortion=tuple(options.distortion)),
        format=options.format,
        label_period_us=options.label_period_us,
        images=options.images,
    )
    if options.preview:
        print(write_preview(options.preview, config))
    if options.out:
        from tqdm import tqdm

        with tqdm(total=config.scenes * len(config.domains), desc="simulating", unit="scene") as bar:
            paths = simulate_set(options.out, config, options.workers, bar.update)
        print(f"{len(paths)} scenes → {options.out}")


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


def evaluate(options) -> None:
    from eventspd_ros.evaluation.evaluate import evaluate_checkpoints, write_json
    from eventspd_ros.evaluation.protocols import choose_protocol
    from eventspd_ros.evaluation.questions import ALL, Settings
    from eventspd_ros.evaluation.table import show_evaluation

    protocol = choose_protocol(options.protocol, options.alignment) if options.protocol else None
    queries = options.queries or (ALL if options.protocol else Settings.uniform)
    with progress_bar("evaluating") as progress:
        evaluation = evaluate_checkpoints(
            options.input,
            options.weights,
            options.train_set,
            Settings(uniform=queries, every=options.every, warm_up=options.warm_up),
            options.dataset,
            options.device,
            protocol,
            options.dense,
            progress,
            options.out,
        )
    look_closer(options, evaluation)
    result = evaluation.result
    if options.out:  # once more, with what look_closer() found
        write_json(result, options.out)
    print(json.dumps(result, indent=1) if options.json else show_evaluation(result))


def look_closer(options, evaluation) -> None:
    """What `eventspd evaluate` does besides: diagnostics, sweeps and the report."""
    from eventspd_ros.evaluation.diagnostics import diagnose_evaluation
    from eventspd_ros.evaluation.sweeps import sweep_evaluation

    if options.diagnostics or options.report:
        evaluation.result["diagnostics"] = diagnose_evaluation(evaluation)
    if options.sweeps:
        with progress_bar("sweeping") as progress:
            evaluation.result["sweeps"] = sweep_evaluation(evaluation, progress)
    if options.report:
        from eventspd_ros.benchmark.latency import latency_of
        from eventspd_ros.evaluation.report import write_report

        evaluation.result["latency"] = latency_of(evaluation)
        print(f"report: {write_report(evaluation, options.report)}", file=sys.stderr)


def replay(options) -> None:
    from eventspd_ros.evaluation.protocols import choose_protocol
    from eventspd_ros.evaluation.replay.ground_truth import read_extrinsics
    from eventspd_ros.evaluation.replay.requests import ReplaySettings
    from eventspd_ros.evaluation.replay.result import Outputs, replay_result, show_replay
    from eventspd_ros.evaluation.replay.session import open_session, replay_configuration, replay_offline
    from eventspd_ros.evaluation.replay.topics import TopicNames
    from eventspd_ros.model.checkpoints import load_checkpoint
    from eventspd_ros.resources import find_weights

    outputs = Outputs(options.out)
    protocol = choose_protocol(options.protocol, options.alignment) if options.protocol else None
    extrinsics = None if options.extrinsics is None else read_extrinsics(options.extrinsics)
    weights = [find_weights(name) for name in options.weights]
    names = TopicNames(
        options.events,
        options.camera_info,
        options.keypoints,
        options.keypoints_layout,
        options.keypoints_coordinates,
        options.depth,
        options.lidar,
    )
    settings = ReplaySettings(options.query_mode, options.queries)
    with time_bar() as progress:
        model = load_checkpoint(weights[0])
        session = open_session(options.input, model, names, settings, extrinsics, options.fx, progress)
        warn(session.found.damage)
        if session.calibration.fx_px is None:
            warn(f"{session.calibration.why}: without a focal length no depth is metric; give --fx")
        with outputs.partial(replay_configuration(session, weights, options.device)) as partial:
            if options.online:
                from eventspd_ros.ros.replay import replay_online

                methods = replay_online(session, weights, options.rate, options.device, progress)
            else:
                methods = replay_offline(session, weights, options.device, partial, progress)
            result = replay_result(session, methods, protocol)
            outputs.write(session, methods, result)
    print(json.dumps(result, indent=1) if options.json else show_replay(result))


def warn(text: str | None) -> None:
    """One line on stderr, where there is something to say."""
    if text:
        print(f"warning: {text}", file=sys.stderr)


@contextmanager
def time_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar over a recording's time, as a function of (what is done, time done, all, ns); a new bar for each what."""
    from tqdm import tqdm

    shape = "{desc} {percentage:3.0f}% |{bar}| {n:.1f} of {total:.1f} s [{elapsed}<{remaining}]"
    with tqdm(total=1.0, bar_format=shape) as bar:

        def progress(what: str, done_ns: int, total_ns: int) -> None:
            if bar.desc != f"{what}: ":
                bar.set_description(what, refresh=False)
                bar.reset(total_ns / 1e9)
            bar.update(done_ns / 1e9 - bar.n)

        yield progress


def calibrate(options) -> None:
    from eventspd_ros.evaluation.calibrate import calibrate_checkpoint

    with progress_bar("calibrating") as progress:
        result = calibrate_checkpoint(
            options.input, options.weights, options.out, options.dataset, progress, options.half
        )
    show(result, options.json)


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over scenes, as a function of (done since the last call, all)."""
    from tqdm import tqdm

    with tqdm(desc=text, unit="scene") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        yield progress


def convert_f3(options) -> None:
    from eventspd_ros.model.checkpoints import convert_f3_checkpoint, save_checkpoint

    save_checkpoint(convert_f3_checkpoint(options.input, options.encoder), options.out)
    print(options.out)


def pretrain(options) -> None:
    from eventspd_ros.training.config import PretrainConfig
    from eventspd_ros.training.pretraining import pretrain_task

    run_task(options, PretrainConfig, pretrain_task)


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


def export(options) -> None:
    from eventspd_ros.model.checkpoints import load_checkpoint
    from eventspd_ros.model.export import write_package
    from eventspd_ros.model.presets import build_model
    from eventspd_ros.resources import find_weights

    model = build_model(options.preset) if options.preset else load_checkpoint(find_weights(options.weights))
    model = model.to(options.device)
    model.bfloat16 = options.bfloat16
    write_package(model, *options.sensor, options.out)
    print(options.out)


def ablate(options) -> None:
    from eventspd_ros.benchmark.ablation import AblationConfig, run_ablations
    from eventspd_ros.training.config import read_config

    table = run_ablations(read_config(options.config, AblationConfig), options.out, options.only, progress_bar)
    if table is not None:
        print(f"{table}\n{options.out / 'ablations.md'}")


def info(options) -> None:
    from eventspd_ros.benchmark.model_info import model_info

    show(model_info(options.preset, options.sensor), options.json)


def run_benchmark(options) -> None:
    """Measure, print, and set beside an earlier report, which is read first: it may be none."""
    from eventspd_ros.benchmark.against import compare_reports, read_report

    if options.repetitions < 1:
        raise ValueError(f"--repetitions {options.repetitions}: must be at least 1")
    before = read_report(options.against, options.what) if options.against else None
    report = options.measure(options)
    try:
        if before is not None:
            report["against"] = {"file": str(options.against), **compare_reports(report, before)}
    finally:
        show(report, options.json)
    for difference in report.get("against", {}).get("differs", ()):
        print(f"warning: {options.against}: {difference}", file=sys.stderr)


def bench_decode(options) -> dict:
    from eventspd_ros.benchmark.decode import bench_decode as measure

    return measure(options.input, options.repetitions)


def bench_windows(options) -> dict:
    from eventspd_ros.benchmark.windows import bench_windows as measure

    return measure(options.input, options.repetitions)


def bench_model(options) -> dict:
    from eventspd_ros.benchmark.model import bench_model as measure

    return measure(options.preset, options.sensor, options.k, options.repetitions, options.device)


def bench_shortcuts(options) -> dict:
    from eventspd_ros.benchmark.shortcuts import bench_shortcuts as measure
    from eventspd_ros.model.checkpoints import load_checkpoint
    from eventspd_ros.resources import find_weights

    return measure(load_checkpoint(find_weights(options.weights), options.device), options.sensor, options.repetitions)


def bench_gpu(options) -> dict:
    from eventspd_ros.benchmark.gpu import Plan
    from eventspd_ros.benchmark.gpu import bench_gpu as measure

    plan = Plan(tuple(options.sensor), repetitions=options.repetitions, device=options.device, budget_s=options.budget)
    return measure(plan, options.out, lambda line: print(line, file=sys.stderr, flush=True))


def bench_train(options) -> dict:
    from eventspd_ros.benchmark.train import StepLoad
    from eventspd_ros.benchmark.train import bench_train as measure

    return measure(options.preset, options.sensor, StepLoad(options.batch), options.repetitions)


def bench_data(options) -> dict:
    from eventspd_ros.benchmark.data import bench_data as measure

    return measure(options.input, options.preset, options.seconds, options.repetitions)


def bench_node(options) -> dict:
    from eventspd_ros.ros.bench_node import bench_node as measure

    return measure(options.preset, options.sensor, options.repetitions, options.device, progress=say_rate)


def say_rate(rate: int) -> None:
    print(f"{rate / 1e6:g} million events a second …", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
