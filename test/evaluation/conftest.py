import pytest
from reference.models import small_model
from reference.tiny_set import write_tiny_set
from reference.windows import randomise

from eventspd_ros.datasets.catalogue import open_dataset


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("tiny"), seed=100)


@pytest.fixture(scope="session")
def tiny_train_set(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("train"), seed=0)


@pytest.fixture(scope="module")
def model():
    return randomise(small_model(parametrization="log"))


@pytest.fixture(scope="module")
def sequences(tiny_set):
    return open_dataset("simulated", tiny_set)
