"""`eventspd bench …`: how fast it is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from eventspd_ros.cli.shared import (
    Command,
    add_acceleration,
    add_source,
    add_support_filter,
    device,
    query_counts,
    sensor_size,
    show,
)


def add_commands(command: Command) -> None:
    bench = command("bench", None, "measure speed").add_subparsers(dest="what", required=True, metavar="WHAT")

    def benchmark(name: str, measure, text: str, repetitions: int) -> argparse.ArgumentParser:
        """measure: of options, to a report with its name under "bench"."""
        sub = bench.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run_benchmark, measure=measure)
        sub.add_argument("--repetitions", type=int, default=repetitions, help=f"after warm-up (default {repetitions})")
        sub.add_argument("--against", type=Path, metavar="FILE", help="an earlier --json of it, to print ratios to")
        sub.add_argument("--json", action="store_true", help="print the report as JSON")
        return sub

    sub = benchmark("decode", bench_decode, "events decoded a second, one core", 30)
    sub.add_argument("input", type=Path, metavar="FILE", help="a recording of events")
    add_source(sub)

    sub = benchmark("windows", bench_windows, "events cut into windows a second, one core", 30)
    sub.add_argument("input", type=Path, metavar="FILE", help="a recording of events")
    add_source(sub)
    add_support_filter(sub)

    sub = benchmark("motion", bench_motion, "nanoseconds an event, microseconds a keypoint of depth from motion", 30)
    sub.add_argument("--sensor", type=sensor_size, default=(260, 346), metavar="WxH", help="default 346x260")

    sub = benchmark("model", bench_model, "milliseconds to encode a window and to decode K keypoints", 30)
    sub.add_argument("--preset", default="eventspd", help="of the model (default eventspd)")
    sub.add_argument("--sensor", type=sensor_size, default=(720, 1280), metavar="WxH", help="default 1280x720")
    sub.add_argument("--k", type=query_counts, default=(1, 64, 256, 1024), help="e.g. 1,64,256,1024")
    sub.add_argument("--device", type=device, default="cpu", help="cpu, cuda or cuda:N")
    add_acceleration(sub)

    sub = benchmark(
        "stream", bench_stream, "windows of 120 a second that a model bears, with 30 requests beside them", 1
    )
    sub.add_argument("--preset", default="eventspd_lite", help="of the model (default eventspd_lite)")
    sub.add_argument("--sensor", type=sensor_size, default=(260, 346), metavar="WxH", help="default 346x260")
    sub.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda or cuda:N")
    sub.add_argument("--seconds", type=float, default=10.0, help="default 10")
    add_acceleration(sub)

    sub = benchmark("gpu", bench_gpu, "the latency promise on one GPU: dense baseline, EventSPD, kernels, floors", 50)
    sizes = {"default": [(720, 1280), (480, 640)], "help": "default 1280x720 640x480"}
    sub.add_argument("--sensor", type=sensor_size, nargs="+", metavar="WxH", **sizes)
    sub.add_argument("--device", type=device, default="cuda", help="cuda or cuda:N")
    text = "dense, best, kernels, compiled, lite, alone, captured, eager, floors (default all), measured in this order"
    sub.add_argument("--variants", nargs="+", metavar="NAME", help=text)
    sub.add_argument("--budget", type=float, default=240.0, help="start nothing after so many seconds (default 240)")
    sub.add_argument("--out", type=Path, metavar="OUT.json", help="written after every measurement")

    sub = benchmark(
        "train", bench_train, "milliseconds of a training step (forward, backward, optimizer) and windows a second", 10
    )
    sub.add_argument("--preset", default="eventspd_lite", help="of the model (default eventspd_lite)")
    sub.add_argument("--sensor", type=sensor_size, default=(260, 346), metavar="WxH", help="default 346x260")
    sub.add_argument("--batch", type=int, default=2, help="samples a step, of 4 windows (default 2)")
    sub.add_argument("--queries", type=int, default=512, help="of each sample (default 512)")

    sub = benchmark("data", bench_data, "windows a second of the training feed, beside what training consumes", 10)
    sub.add_argument("input", type=Path, metavar="SET", nargs="?", help="a simulated set; without it one is simulated")
    sub.add_argument("--preset", default="eventspd_lite", help="the model that trains")
    sub.add_argument("--seconds", type=float, default=10.0, help="for the feed (default 10); training takes its time")

    sub = benchmark("node", bench_node, "events a second that the whole node bears over DDS, and its latencies", 3)
    sub.add_argument("--preset", default="eventspd_lite", help="of the model (default eventspd_lite)")
    sub.add_argument("--sensor", type=sensor_size, default=(260, 346), metavar="WxH", help="default 346x260")
    sub.add_argument("--device", type=device, default="auto", help="auto, cpu, cuda or cuda:N")


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

    return measure(options.input, options.repetitions, options.topic, options.geometry)


def bench_windows(options) -> dict:
    from eventspd_ros.benchmark.windows import bench_windows as measure

    return measure(options.input, options.repetitions, options.topic, options.geometry, options.support_filter)


def bench_motion(options) -> dict:
    from eventspd_ros.benchmark.motion import bench_motion as measure

    return measure(options.sensor, options.repetitions)


def bench_model(options) -> dict:
    from eventspd_ros.benchmark.model import bench_model as measure

    how = options.repetitions, options.device, options.acceleration
    return measure(options.preset, options.sensor, options.k, *how)


def bench_stream(options) -> dict:
    from eventspd_ros.benchmark.stream import bench_stream as measure

    how = options.device, options.acceleration, options.seconds, options.repetitions
    return measure(options.preset, options.sensor, *how)


def bench_gpu(options) -> dict:
    from eventspd_ros.benchmark.gpu import bench_gpu as measure
    from eventspd_ros.benchmark.gpu_variants import VARIANTS, Plan

    plan = Plan(
        sensors=tuple(options.sensor),
        variants=tuple(options.variants or VARIANTS),
        repetitions=options.repetitions,
        device=options.device,
        budget_s=options.budget,
    )
    return measure(plan, options.out, lambda line: print(line, file=sys.stderr, flush=True))


def bench_train(options) -> dict:
    from eventspd_ros.benchmark.train import StepLoad
    from eventspd_ros.benchmark.train import bench_train as measure

    load = StepLoad(options.batch, queries=options.queries)
    return measure(options.preset, options.sensor, load, options.repetitions)


def bench_data(options) -> dict:
    from eventspd_ros.benchmark.data import bench_data as measure

    return measure(options.input, options.preset, options.seconds, options.repetitions)


def bench_node(options) -> dict:
    from eventspd_ros.ros.outside.bench_node import bench_node as measure

    return measure(options.preset, options.sensor, options.repetitions, options.device, progress=say_rate)


def say_rate(rate: int) -> None:
    print(f"{rate / 1e6:g} million events a second …", file=sys.stderr)
