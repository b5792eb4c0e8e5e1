"""`eventspd demo`, `decode`, `info-events`, `simulate` and `replay`: recordings in and out."""

from __future__ import annotations

import json
from pathlib import Path

from eventspd_ros.cli.shared import (
    Command,
    add_acceleration,
    add_source,
    add_support_filter,
    add_topic,
    device,
    show,
    time_bar,
    warn,
)
from eventspd_ros.resources import DEFAULT_WEIGHTS

# Of `eventspd simulate`: what a number fixes, and two a scene draws between.
VARIETY = {
    "focal": "fx over the image's width, one number or the least and the greatest, as all of these (0.75)",
    "pace": "times the camera's speed",
    "pitch_deg": "added to the camera's, up",
    "roll_deg": "added to the camera's",
    "height_m": "of the camera above the ground, at the start",
    "scale": "times every length of scene and path: what is seen does not tell it",
}


def add_commands(command: Command) -> None:
    sub = command("demo", demo, "play a bag through the node and record its answers; leaves summary.json, overlay.png")
    sub.add_argument("--bag", type=Path, help="rosbag2 with event packets; without it one is simulated")
    add_topic(sub)
    sub.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results")
    sub.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"name or path ({DEFAULT_WEIGHTS})")

    sub = command("decode", decode, "decode a .raw file, rosbag2 or HDF5 to arrays")
    sub.add_argument("input", type=Path, metavar="IN", help="a recording of events")
    sub.add_argument("--out", type=Path, required=True, help="OUT.npz or OUT.h5")
    add_source(sub)

    text = "count, duration, rate, size, encoding, gaps and event statistics of a recording or a folder of HDF5 scenes"
    sub = command("info-events", info_events, text)
    sub.add_argument("input", type=Path, metavar="IN", help="a recording of events, or a folder of HDF5 scenes")
    add_source(sub)
    sub.add_argument("--json", action="store_true", help="print the result as JSON")

    sub = command("simulate", simulate, "write simulated events with exact depth: HDF5 for training, or rosbag2")
    sub.add_argument("--out", type=Path, help="folder of the set; what is there already is kept")
    text = "kinds of scenes: drive, indoor, fly (these by default), desk, hall, forest, jumble"
    sub.add_argument("--domains", nargs="+", default=["drive", "indoor", "fly"], metavar="DOMAIN", help=text)
    sub.add_argument("--scenes", type=int, default=10, help="scenes of every domain (default 10)")
    sub.add_argument("--seed", type=int, default=0, help="of the first scene; the others count on (default 0)")
    sub.add_argument("--duration", type=float, default=1.0, help="of a scene, s (default 1)")
    text = "event sensor: clean, normal, night, realistic, arbiter, or random: another in every scene (default normal)"
    sub.add_argument("--preset", default="normal", help=text)
    sub.add_argument("--size", default="346x260", help="WIDTHxHEIGHT, px (default 346x260)")
    sub.add_argument("--intrinsics", nargs=4, type=float, metavar=("FX", "FY", "CX", "CY"), help="px")
    names = ("K1", "K2", "P1", "P2")
    sub.add_argument("--distortion", nargs=4, type=float, metavar=names, default=[0.0] * 4, help="plumb_bob (none)")
    sub.add_argument("--format", default="hdf5", help="hdf5 or rosbag2 (default hdf5)")
    sub.add_argument("--label-period-us", type=int, default=8333, help="time between depth maps in HDF5 (8333)")
    sub.add_argument("--images", action="store_true", help="a camera's picture beside every depth map, for a teacher")
    text = "of bags: rate_hz, delay_ms, time_offset_ms, white_rotation_deg, … (docs/simulation.md; 200 Hz and exact)"
    sub.add_argument("--odometry", nargs="+", default=[], metavar="KEY=VALUE", help=text)
    for name, text in VARIETY.items():
        sub.add_argument(f"--{name.partition('_')[0]}", nargs="+", type=float, metavar="X", dest=name, help=text)
    sub.add_argument("--path", default="own", help="of the camera: own, slider, hover, turn, or any of these (own)")
    sub.add_argument("--textures", default="own", help="any: every surface of any material (own)")
    sub.add_argument("--workers", type=int, help="processes (default: one a core)")
    sub.add_argument("--preview", type=Path, metavar="OUT.png", help="draw the first scene of every domain")

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
    sub.add_argument("--camera-info", metavar="TOPIC", help="the focal length and the lens")
    sub.add_argument("--keypoints", metavar="TOPIC", help="without one: corners of the events")
    sub.add_argument("--keypoints-layout", metavar="LAYOUT", help="as the node's parameter; needed for a PointCloud")
    sub.add_argument("--keypoints-coordinates", default="pixel", metavar="C", help="pixel, rectified or normalized")
    sub.add_argument("--poses", metavar="TOPIC", help="Odometry, PoseStamped or PoseWithCovarianceStamped")
    text = "do without the bag's poses: near and far by how the events move, as with the node's motion: events"
    without = sub.add_mutually_exclusive_group()
    without.add_argument("--motion-by-events", action="store_true", help=text)
    without.add_argument("--no-motion", action="store_true", help="do without the bag's poses: learned depth alone")
    text = "x y z qx qy qz qw of the camera's optical frame in the frame whose poses these are (default: it is that)"
    sub.add_argument("--camera-pose", nargs="+", metavar="X", help=text)
    sub.add_argument("--depth", metavar="TOPIC", help="ground truth: Image, 32FC1 (m) or 16UC1 (mm), of the raw sensor")
    sub.add_argument("--lidar", metavar="TOPIC", help="ground truth: PointCloud2, with --extrinsics")
    text = "T_camera_lidar (x_camera = T x_lidar): YAML or JSON file, or x y z qx qy qz qw"
    sub.add_argument("--extrinsics", nargs="+", metavar="T", help=text)
    sub.add_argument("--fx", type=float, help="focal length in px, for a bag without camera_info")
    sub.add_argument("--queries", type=int, default=512, help="pixels drawn at a depth label (default 512)")
    sub.add_argument("--protocol", help="score as published too: e2depth, hmnet")
    sub.add_argument("--alignment", default="none", help="of the protocol: none, median, scale-and-shift")
    sub.add_argument("--device", type=device, default="cpu", help="cpu, cuda or cuda:N")
    add_acceleration(sub)
    add_support_filter(sub)
    text = "result (OUT.json), answers (OUT.csv, or a bag in the folder OUT); several may be given"
    sub.add_argument("--out", type=Path, nargs="+", default=[], metavar="OUT", help=text)
    sub.add_argument("--json", action="store_true", help="print the result as JSON instead of tables")


def demo(options) -> None:
    from eventspd_ros.ros.outside.demo import run_demo, table

    with time_bar() as progress:
        summary = run_demo(options.bag, options.out, options.weights, options.topic, progress)
    print(f"\n{table(summary)}\nsummary: {options.out / 'summary.json'}   picture: {options.out / 'overlay.png'}")


def decode(options) -> None:
    from eventspd_ros.events.files.export import decode_to

    count = decode_to(options.input, options.out, options.topic, options.geometry)
    print(f"{count:,} events → {options.out}")


def info_events(options) -> None:
    from eventspd_ros.events.files.summary import summarise_events

    show(summarise_events(options.input, options.topic, options.geometry), options.json)


def simulate(options) -> None:
    from eventspd_ros.simulation.camera import PinholeCamera, parse_size
    from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set
    from eventspd_ros.simulation.odometry import OdometryConfig
    from eventspd_ros.simulation.preview import write_preview
    from eventspd_ros.simulation.variety import Variety

    named = {"path": options.path, "textures": options.textures}
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
        odometry=OdometryConfig.parse(options.odometry),
        variety=Variety(**{name: _range(name, getattr(options, name)) for name in VARIETY}, **named),
    )
    if options.preview:
        print(write_preview(options.preview, config))
    if options.out:
        from tqdm import tqdm

        with tqdm(total=config.scenes * len(config.domains), desc="simulating", unit="scene") as bar:
            paths = simulate_set(options.out, config, options.workers, bar.update)
        print(f"{len(paths)} scenes → {options.out}")


def _range(name: str, given: list[float] | None) -> tuple[float, float] | None:
    if given is not None and len(given) > 2:
        raise ValueError(f"--{name.partition('_')[0]} {given}: give one number, or the least and the greatest")
    return None if given is None else (given[0], given[-1])


def replay(options) -> None:
    from eventspd_ros.evaluation.replay.ground_truth import read_extrinsics
    from eventspd_ros.evaluation.replay.requests import ReplaySettings
    from eventspd_ros.evaluation.replay.result import ReplayOutputs, replay_result, show_replay
    from eventspd_ros.evaluation.replay.session import open_session, replay_configuration, replay_offline
    from eventspd_ros.evaluation.replay.topics import TopicNames
    from eventspd_ros.evaluation.results import to_json
    from eventspd_ros.evaluation.scoring.protocols import choose_protocol
    from eventspd_ros.model.checkpoints import load_checkpoint
    from eventspd_ros.resources import find_weights

    outputs = ReplayOutputs(options.out)
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
        options.poses,
        not options.no_motion,
    )
    camera_pose = options.camera_pose and " ".join(options.camera_pose)
    settings = ReplaySettings(
        options.query_mode,
        options.queries,
        camera_pose=camera_pose,
        acceleration=options.acceleration,
        support_filter_ms=options.support_filter,
        by_events=options.motion_by_events,
    )
    with time_bar() as progress:
        model = load_checkpoint(weights[0])
        session = open_session(options.input, model, names, settings, extrinsics, options.fx, progress)
        warn(session.found.damage)
        if session.calibration.fx_px is None:
            warn(f"{session.calibration.why}: without a focal length no depth is metric; give --fx")
        elif session.calibration.lens is None and not options.no_motion:
            warn(f"{session.calibration.why}: without a lens poses are of no use")
        with outputs.partial(replay_configuration(session, weights, options.device)) as partial:
            if options.online:
                from eventspd_ros.ros.outside.replay import replay_online

                methods = replay_online(session, weights, options.rate, options.device, progress)
            else:
                methods = replay_offline(session, weights, options.device, partial, progress)
            result = replay_result(session, methods, protocol)
            outputs.write(session, methods, result)
    print(json.dumps(to_json(result), indent=1) if options.json else show_replay(result))
