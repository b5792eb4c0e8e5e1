"""Sets of simulated scenes: many files, all cores, resumable. What `eventspd simulate` runs.

A set is a folder of scenes, DOMAIN_SEED.h5 or rosbag2 folders DOMAIN_SEED, and set.json, its configuration. What is
there already is kept; a set that was made with another configuration is refused.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from eventspd_ros.cores import cores
from eventspd_ros.simulation.bag import write_bag
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.event_sensor import PRESETS
from eventspd_ros.simulation.odometry import OdometryConfig
from eventspd_ros.simulation.scene_file import FORMAT_VERSION, LABEL_PERIOD_US, write_scene
from eventspd_ros.simulation.stream import SimulationConfig
from eventspd_ros.simulation.variety import Variety, random_sensor
from eventspd_ros.simulation.worlds import COMMON_DOMAINS, DOMAINS
from eventspd_ros.whole import remove_unfinished, write_whole

SET_FILE = "set.json"
RANDOM = "random"
FORMATS = ("hdf5", "rosbag2")
WINDOW_MS = 20.0  # by which speed is counted


@dataclass(frozen=True, slots=True)
class SetConfig:
    """scenes: of every domain; their seeds are seed, seed + 1, …. preset: of the event sensor, or "random": another one
    for every scene. variety: in what scenes differ from their domains' own.

    label_period_us: time between two depth maps in an HDF5 file; images: a picture beside each of them. odometry: of
    bags; HDF5 files hold the exact poses.
    """

    domains: tuple[str, ...] = COMMON_DOMAINS
    scenes: int = 10
    seed: int = 0
    duration_s: float = 1.0
    preset: str = "normal"
    camera: PinholeCamera = field(default_factory=lambda: PinholeCamera.centred(346, 260))
    format: str = "hdf5"
    label_period_us: int = LABEL_PERIOD_US
    images: bool = False
    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    variety: Variety = field(default_factory=Variety)

    def __post_init__(self) -> None:
        for name, value, known in (
            *(("domain", domain, DOMAINS) for domain in self.domains),
            ("preset", self.preset, (*PRESETS, RANDOM)),
            ("format", self.format, FORMATS),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r}: must be one of {', '.join(known)}")
        if self.scenes < 1 or self.seed < 0 or self.label_period_us < 1 or not self.domains:
            raise ValueError(
                f"scenes {self.scenes}, seed {self.seed}, label_period_us {self.label_period_us}, "
                f"{len(self.domains)} domains: each must be at least 1 (a seed: 0)"
            )
        if self.images and self.format != "hdf5":
            raise ValueError(f"format {self.format!r}: images are written into hdf5 only")
        if self.odometry != OdometryConfig() and self.format != "rosbag2":
            raise ValueError(f"format {self.format!r}: odometry is written into rosbag2 only")
        self.scene(self.domains[0], self.seed)

    def scene(self, domain: str, seed: int) -> SimulationConfig:
        """One scene of the set; one thread, as the set has a process a core."""
        how = self.variety.draw(domain, seed)
        sensor = random_sensor(domain, seed) if self.preset == RANDOM else PRESETS[self.preset]
        camera = self.camera if how.focal is None else self.camera.with_focal(how.focal)
        return SimulationConfig(
            camera, self.duration_s, seed, sensor, domain=domain, threads=1, odometry=self.odometry, how=how
        )

    def files(self, out: Path) -> dict[Path, SimulationConfig]:
        """Where every scene goes, the domains taking turns."""
        ending = ".h5" if self.format == "hdf5" else ""
        seeds = range(self.seed, self.seed + self.scenes)
        return {out / f"{d}_{s:06d}{ending}": self.scene(d, s) for s in seeds for d in self.domains}

    @property
    def windows_per_scene(self) -> float:
        """How many windows of 20 ms a scene has."""
        return self.duration_s * 1e3 / WINDOW_MS


def simulate_set(
    out: Path | str,
    config: SetConfig,
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[Path]:
    """Writes the scenes of a set that are not there yet; returns the paths of all.

    workers: processes, one a core if not given. progress: called with the number of scenes done since the last call,
    those found first. Stopped at any moment it leaves whole scenes only, and goes on when called again. ValueError
    where the folder holds a set of another configuration. A script that calls it with more than one worker needs
    `if __name__ == "__main__":`, as its processes import it.
    """
    out, progress = Path(out), progress or (lambda scenes: None)
    _claim(out, config)
    files = config.files(out)
    missing = {path: scene for path, scene in files.items() if not path.exists()}
    progress(len(files) - len(missing))
    workers = min(workers or cores(), len(missing))
    if workers == 1:
        for path, scene in missing.items():
            progress(_write(path, scene, config))
    elif missing:
        _write_all(missing, config, workers, progress)
    return list(files)


def _write(path: Path, scene: SimulationConfig, config: SetConfig) -> int:
    if config.format == "hdf5":
        write_scene(path, scene, config.preset, config.label_period_us, images=config.images)
    else:
        write_bag(path, scene)
    return 1


def _write_all(missing: dict, config: SetConfig, workers: int, progress: Callable[[int], object]) -> None:
    """All scenes in processes of their own; an error or an interrupt ends them at once and leaves whole scenes only."""
    others = multiprocessing.active_children()
    # Started afresh, not forked: a fork would copy whatever threads the caller has.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupts)
    try:
        running: set[Future] = {pool.submit(_write, path, scene, config) for path, scene in missing.items()}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            progress(sum(future.result() for future in done))
    except BaseException:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        pool.shutdown(cancel_futures=True)
        for path in missing:
            remove_unfinished(path)
        raise
    pool.shutdown()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the one that started the others ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _claim(out: Path, config: SetConfig) -> None:
    """Writes set.json, or compares with the one that is there; only the number of scenes may have changed."""
    described = {**json.loads(json.dumps(asdict(replace(config, scenes=1)))), "format_version": FORMAT_VERSION}
    described.pop("scenes")
    if config.format == "hdf5":  # which sets from before there was odometry go on with
        described.pop("odometry")
    path = out / SET_FILE
    if path.exists():
        try:
            # Sets from before there was that.
            as_it_was = {"images": False, "variety": json.loads(json.dumps(asdict(Variety())))}
            before = {**as_it_was, **json.loads(path.read_text())}
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path}: not the JSON of a set ({error}); remove it or name another folder") from error
        for key in described:
            if before.get(key) != described[key]:
                raise ValueError(
                    f"{path}: the set there has {key} {before.get(key)}, not {described[key]}; name another folder"
                )
        return
    write_whole(path, json.dumps(described, indent=2) + "\n")
