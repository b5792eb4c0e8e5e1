import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from eventspd_ros.ros.fastdds import VARIABLE, loss_hint, own_profile, profile_in_use

PROFILE = Path(__file__).parents[2] / "config/fastdds.xml"


@pytest.fixture(autouse=True)
def no_profile(monkeypatch):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_profile_is_in_use_inside_only():
    with own_profile():
        assert Path(profile_in_use()).resolve() == PROFILE and os.environ[VARIABLE] == profile_in_use()
    assert profile_in_use() is None


def test_a_profile_that_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/mine.xml")
    with own_profile():
        assert profile_in_use() == "/mine.xml"
    assert profile_in_use() == "/mine.xml"


def test_shared_memory_has_room_for_a_second_of_packets():
    sizes = [int(e.text) for e in ElementTree.parse(PROFILE).iter() if e.tag.endswith("segment_size")]
    assert sizes == [64 << 20]


def test_the_hint_fits_the_situation(monkeypatch):
    assert VARIABLE in loss_hint("rmw_fastrtps_cpp") and "fastdds.xml" in loss_hint("rmw_fastrtps_cpp")
    assert "Fast DDS" not in loss_hint("rmw_cyclonedds_cpp")
    monkeypatch.setenv(VARIABLE, "/mine.xml")
    assert "rmem_max" in loss_hint("rmw_fastrtps_cpp")
