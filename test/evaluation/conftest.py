import pytest
from reference.tiny_set import write_tiny_set


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("tiny"), seed=100)


@pytest.fixture(scope="session")
def tiny_train_set(tmp_path_factory):
    return write_tiny_set(tmp_path_factory.mktemp("train"), seed=0)
