"""Fast DDS loses large best-effort packets when its shared-memory segment is small (512 KB by default): of 1,250 event
packets of 200 kB at 250 a second, half. The profile config/fastdds.xml gives it 64 MB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from eventspd_ros.resources import find_resource

_OLD, _NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
# Kilted knows both and reads a file that is named twice twice; Jazzy and earlier surely know the old one.
VARIABLE = _OLD if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else _NEW
PROFILE = "config/fastdds.xml"


def profile_in_use() -> str | None:
    """The profile file that this process's Fast DDS reads, None where there is none."""
    return os.environ.get(_NEW) or os.environ.get(_OLD)


@contextmanager
def own_profile() -> Iterator[None]:
    """Inside, rclpy.init() and child processes read our profile, unless the user has chosen one."""
    if profile_in_use() is not None:
        yield
        return
    os.environ[VARIABLE] = str(find_resource(PROFILE))
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def loss_hint(middleware: str) -> str:
    """Why packets may be missing before they reach the node, and what to do."""
    if "fastrtps" not in middleware:
        return f"{middleware} or the network lost them: give it larger socket and history buffers"
    if profile_in_use() is None:
        return (
            "Fast DDS drops large packets when its shared memory is full, 512 KB by default: set "
            f"{VARIABLE}={find_resource(PROFILE)} for the camera driver and this node (the launch file does)"
        )
    return (
        "this node reads a Fast DDS profile; see that the camera driver does too, or, over a network, raise "
        "net.core.rmem_max"
    )
