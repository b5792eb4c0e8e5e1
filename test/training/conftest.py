"""A small simulated set, made once, and configs that train on it in seconds."""

import pytest
import yaml

from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.dataset_writer import SetConfig
from eventspd_ros.simulation.scene_file import write_scene


@pytest.fixture(scope="session")
def scene_set(tmp_path_factory):
    """Folder of three scenes of 64×48 px, one of each domain, 0.1 s."""
    folder = tmp_path_factory.mktemp("scenes")
    config = SetConfig(scenes=1, duration_s=0.1, camera=PinholeCamera.centred(64, 48))
    for path, scene in config.files(folder).items():
        write_scene(path, scene, config.preset)
    return folder


@pytest.fixture
def run_values(scene_set):
    """Plain values of a TrainConfig: a few steps of the smallest useful kind, in float32 and without dropout."""
    return {
        "preset": "eventspd_lite",
        "changes": {"decoder": {"attention_dropout": 0.0}},
        "queries": 32,
        "bptt": 1,
        "data": {
            "train": [{"folder": str(scene_set)}],
            "validation": [{"folder": str(scene_set)}],
            "windows": 2,
            "workers": 0,
            "validation_samples": 3,
        },
        "losses": {"point": 0.1, "silog": 0.5, "nll": 1.0},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2, "averaging": 0.9},
        "run": {"steps": 4, "batch": 2, "precision": "32-true", "validate_every": 2, "checkpoint_every": 2},
    }


@pytest.fixture
def write_config(tmp_path, run_values):
    """Writes run_values, with changes of whole sections' keys, as a YAML file."""

    def write(name="run.yaml", **changes):
        values = {key: dict(value) if isinstance(value, dict) else value for key, value in run_values.items()}
        for key, change in changes.items():
            values[key] = {**values[key], **change} if isinstance(change, dict) and key in values else change
        path = tmp_path / name
        path.write_text(yaml.safe_dump(values))
        return path

    return write
