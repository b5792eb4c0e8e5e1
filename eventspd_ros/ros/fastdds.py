"""Fast DDS loses large best-effort packets when its shared-memory segment is small (512 KB by default): of 1,250 event
packets of 200 kB at 250 a second, half. The profile config/fastdds.xml gives it 64 MB."""

from __future__ import annotations

import os

from eventspd_ros.resources import find_resource

# Iron and later, and Humble.
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
PROFILE = "config/fastdds.xml"


def profile_in_use() -> str | None:
    """The profile file that this process's Fast DDS reads, None where there is none."""
    return next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)


def use_profile() -> None:
    """Let this process, before rclpy.init(), and its children read our profile, unless the user has chosen one."""
    if profile_in_use() is None:
        os.environ.update(dict.fromkeys(VARIABLES, str(find_resource(PROFILE))))


def loss_hint(middleware: str) -> str:
    """Why packets may be missing before they reach the node, and what to do."""
    if "fastrtps" not in middleware:
        return f"{middleware} or the network lost them: give it larger socket and history buffers"
    if profile_in_use() is None:
        return (
            "Fast DDS drops large packets when its shared memory is full, 512 KB by default: set "
            f"{VARIABLES[0]}={find_resource(PROFILE)} for the camera driver and this node (the launch file does)"
        )
    return (
        "this node reads a Fast DDS profile; see that the camera driver does too, or, over a network, raise "
        "net.core.rmem_max"
    )
