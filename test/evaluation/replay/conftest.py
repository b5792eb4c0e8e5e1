import pytest
import torch
from reference.models import small_model
from reference.windows import randomise

from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.presets import build_model
from eventspd_ros.simulation.bag import write_bag
from eventspd_ros.simulation.camera import PinholeCamera
from eventspd_ros.simulation.stream import SimulationConfig


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models this small only wait for further threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_bag(tmp_path_factory):
    """0.3 s of 64×48 px with keypoints and depth, 37 times a second, so that stamps fall anywhere between windows."""
    config = SimulationConfig(camera=PinholeCamera.centred(64, 48), duration_s=0.3, max_keypoints=20, keypoint_hz=37)
    return write_bag(tmp_path_factory.mktemp("bags") / "small", config)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_checkpoint(randomise(small_model(parametrization="log"), scale=0.02), path)
    return path


@pytest.fixture(scope="session")
def fast_weights(tmp_path_factory):
    """Without memory, for tests of what stands around the model."""
    path = tmp_path_factory.mktemp("weights") / "minimal.safetensors"
    save_checkpoint(build_model("minimal"), path)
    return path
