"""`eventspd evaluate`, `judge`, `calibrate`, `ablate` and `recipe`: how good a model is."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from eventspd_ros.cli.shared import Command, add_acceleration, add_support_filter, device, progress_bar, show
from eventspd_ros.resources import DEFAULT_WEIGHTS, find_resource, find_weights


def add_commands(command: Command) -> None:
    sub = command("evaluate", evaluate, "accuracy and uncertainty of checkpoints on a set, beside baselines")
    sub.add_argument("input", type=Path, metavar="SET", help="folder of the dataset; simulated scenes by default")
    text = f"names or paths: the model, then others to set beside it ({DEFAULT_WEIGHTS})"
    sub.add_argument("--weights", nargs="+", default=[DEFAULT_WEIGHTS], metavar="W", help=text)
    sub.add_argument("--train-set", type=Path, metavar="SET", help="what it was trained on, for the baselines")
    sub.add_argument("--dataset", default="simulated", help="simulated, m3ed, dsec, mvsec, tartanair")
    sub.add_argument("--every", type=int, default=4, help="ask at every how many labels (default 4)")
    sub.add_argument("--queries", type=int, help="pixels drawn at a label (default 512; by a protocol all with depth)")
    sub.add_argument("--protocol", help="score as published too: e2depth, hmnet, f3, dsec")
    sub.add_argument("--alignment", default="none", help="of the protocol: none, median, scale-and-shift")
    sub.add_argument("--warm-up", type=int, default=8, help="windows before the first question (default 8)")
    add_support_filter(sub)
    sub.add_argument("--device", type=device, default="cpu", help="cpu, cuda or cuda:N")
    add_acceleration(sub, "eager")
    sub.add_argument("--dense", nargs=2, type=Path, metavar=("F3", "DAV2"), help="beside F³ + Depth Anything V2")
    sub.add_argument("--diagnostics", action="store_true", help="what the decoder does: routing, attention, offsets")
    sub.add_argument("--sweeps", action="store_true", help="fewer events, noise, gaps, a camera that stops, K")
    sub.add_argument("--motion", action="store_true", help="with the set's poses: learned, by motion, and both")
    sub.add_argument("--pose-errors", action="store_true", help="the same when the poses have errors")
    sub.add_argument("--report", type=Path, metavar="FOLDER", help="write report.html and report.json, with latencies")
    sub.add_argument("--out", type=Path, metavar="OUT.json", help="everything, scene by scene")
    sub.add_argument("--json", action="store_true", help="print that instead of tables")

    text = "one table of what weights must show: every set of a list made, asked and held against what is wanted"
    sub = command("judge", judge, text)
    sub.add_argument("config", type=Path, nargs="?", help="YAML file of the sets (config/eval/judging.yaml)")
    sub.add_argument("--weights", default=DEFAULT_WEIGHTS, metavar="W", help=f"name or path ({DEFAULT_WEIGHTS})")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="sets, results, judged.json")
    sub.add_argument("--recordings", type=Path, metavar="FOLDER", help="where the real recordings lie")
    sub.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these sets")

    sub = command("calibrate", calibrate, "fit the temperature of a checkpoint's uncertainty on validation scenes")
    sub.add_argument("input", type=Path, metavar="SET", help="scenes it was neither trained nor is tested on")
    sub.add_argument("--weights", required=True, help="name or path")
    sub.add_argument("--out", type=Path, required=True, help="the checkpoint with the temperature")
    sub.add_argument("--half", action="store_true", help="store its weights in float16")
    sub.add_argument("--dataset", default="simulated", help="simulated, m3ed, dsec, mvsec, tartanair")
    sub.add_argument("--json", action="store_true", help="print the result as JSON")

    text = "train variants of a model with one budget, ask them the same, write one table; finished ones are kept"
    sub = command("ablate", ablate, text)
    sub.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of the variants")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="runs, ablations.md, ablations.json")
    sub.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these variants, and no table yet")

    text = "simulate, compare variants, train the better one in a given time and set it beside weights that ship"
    sub = command("recipe", recipe, text)
    sub.add_argument("config", type=Path, nargs="?", help="YAML file (config/train/card.yaml)")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="sets, runs, weights, recipe.json")
    text = "some of simulate, compare, train, evaluate (default: all); what is done is not done again"
    sub.add_argument("--steps", nargs="+", default=[], metavar="STEP", help=text)


def evaluate(options) -> None:
    from eventspd_ros.datasets.catalogue import open_dataset
    from eventspd_ros.evaluation.asking.questions import ALL, Settings
    from eventspd_ros.evaluation.evaluate import evaluate_checkpoints
    from eventspd_ros.evaluation.motion import check_poses
    from eventspd_ros.evaluation.results import to_json, write_json
    from eventspd_ros.evaluation.scoring.protocols import choose_protocol
    from eventspd_ros.evaluation.showing.table import show_evaluation

    if options.acceleration != "eager" and (options.diagnostics or options.report):
        raise ValueError(f"--acceleration {options.acceleration}: --diagnostics and --report look into an eager model")
    if options.motion or options.pose_errors:
        check_poses(open_dataset(options.dataset, options.input))
    protocol = choose_protocol(options.protocol, options.alignment) if options.protocol else None
    queries = options.queries or (ALL if options.protocol else Settings.uniform)
    asked = {"uniform": queries, "every": options.every, "warm_up": options.warm_up}
    settings = Settings(**asked, support_filter_ms=options.support_filter)
    with progress_bar("evaluating") as progress:
        evaluation = evaluate_checkpoints(
            options.input,
            [find_weights(name) for name in options.weights],
            options.train_set,
            settings,
            options.dataset,
            options.device,
            protocol,
            options.dense,
            progress,
            options.out,
            options.acceleration,
        )
    result = look_closer(options, evaluation)
    if options.out:  # once more, with what look_closer() found
        write_json(result, options.out)
    print(json.dumps(to_json(result), indent=1) if options.json else show_evaluation(result))


def look_closer(options, evaluation):
    """What `eventspd evaluate` does besides: diagnostics, sweeps, motion and the report. The result with all of it."""
    from eventspd_ros.evaluation.diagnostics import diagnose_evaluation
    from eventspd_ros.evaluation.motion import evaluate_motion, sweep_pose_errors
    from eventspd_ros.evaluation.sweeps import sweep_evaluation

    found = {}
    if options.diagnostics or options.report:
        found["diagnostics"] = diagnose_evaluation(evaluation)
    if options.sweeps:
        with progress_bar("sweeping") as progress:
            found["sweeps"] = sweep_evaluation(evaluation, progress)
    if options.motion:
        with progress_bar("with motion") as progress:
            found["motion"] = evaluate_motion(evaluation, progress)
    if options.pose_errors:
        with progress_bar("with errors of the poses") as progress:
            found["pose_errors"] = sweep_pose_errors(evaluation, progress)
    if options.report:
        from eventspd_ros.benchmark.latency import latency_of
        from eventspd_ros.benchmark.latency_page import latency_section
        from eventspd_ros.evaluation.showing.report import write_report

        found["latency"] = latency_of(evaluation)
        evaluation = replace(evaluation, result=replace(evaluation.result, **found))
        page = write_report(evaluation, options.report, latency_section(found["latency"]))
        print(f"report: {page}", file=sys.stderr)
    return replace(evaluation.result, **found)


def judge(options) -> None:
    from eventspd_ros.evaluation.judging import judge as judge_sets
    from eventspd_ros.evaluation.judging import read_judging, show_judgement

    judging = read_judging(options.config or find_resource("config/eval/judging.yaml"))
    judgement = judge_sets(judging, options.weights, options.out, options.recordings, options.only)
    print(show_judgement(judgement))
    if not all(verdict.met for verdict in judgement.verdicts):
        sys.exit(1)


def calibrate(options) -> None:
    from eventspd_ros.evaluation.calibrate import calibrate_checkpoint

    with progress_bar("calibrating") as progress:
        result = calibrate_checkpoint(
            options.input, find_weights(options.weights), options.out, options.dataset, progress, options.half
        )
    show(asdict(result), options.json)


def ablate(options) -> None:
    from eventspd_ros.benchmark.ablation import AblationConfig, run_ablations
    from eventspd_ros.training.config import read_config

    table = run_ablations(read_config(options.config, AblationConfig), options.out, options.only, progress_bar)
    if table is not None:
        print(f"{table}\n{options.out / 'ablations.md'}")


def recipe(options) -> None:
    from eventspd_ros.benchmark.recipe import Recipe, run_recipe
    from eventspd_ros.training.config import read_config

    config = read_config(options.config or find_resource("config/train/card.yaml"), Recipe)
    print(run_recipe(config, options.out, options.steps, progress_bar))
