"""A simulated set small enough for a test: 64×48 px, a tenth of a second, two scenes of two domains."""

from pathlib import Path

from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig, simulate_set


def write_tiny_set(folder: Path, seed: int = 0, scenes: int = 2) -> Path:
    config = SetConfig(("drive", "indoor"), scenes, seed, duration_s=0.1, camera=PinholeCamera.centred(64, 48))
    simulate_set(folder, config, workers=1)
    return folder
