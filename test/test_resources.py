from pathlib import Path

import pytest

from eventspd_ros.resources import find_resource, find_weights


def test_the_checkout_is_found_without_an_installation(monkeypatch):
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    assert find_resource("msg/KeypointArray.msg").read_text().startswith("#")


def test_ament_comes_first(monkeypatch, tmp_path):
    share = tmp_path / "share/eventspd_ros/config"
    share.mkdir(parents=True)
    (share / "eventspd.yaml").write_text("own")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert find_resource("config/eventspd.yaml").read_text() == "own"


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"weights/none\.safetensors"):
        find_resource("resource/weights/none.safetensors")


def test_weights_are_a_name_of_the_package_or_a_path(monkeypatch, tmp_path):
    installed = tmp_path / "share/eventspd_ros/resource/weights/small.safetensors"
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert find_weights("small") == installed
    for path in ("small.safetensors", "./small", "/weights/small"):
        assert find_weights(path) == Path(path)
    with pytest.raises(ValueError, match=r"^weights 'large' do not come .*\bsmall\b.*checkpoint$"):
        find_weights("large")
