"""How a process of this package starts and ends, whoever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from eventspd_ros.ros.workers import MAX_LINE
from eventspd_ros.text import one_line


def start_process(command: list[str]) -> subprocess.Popen:
    """A process of this package that ros_context() is in. A terminal's Ctrl-C is for all it started: it waits until the
    process has imported what it needs and can end cleanly."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(command)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ros_context(args: list[str] | None) -> Iterator[None]:
    """rclpy around a process's work: SIGINT and SIGTERM end it cleanly, a ValueError, or arguments
    that ROS cannot read, are one line and exit status 1.

    rclpy's own signal handlers would invalidate the context first, and the last answers could not be published.
    """
    program = Path(sys.argv[0]).name
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # RCLError and UnknownROSArgsError, which rclpy gives no public name
        sys.exit(f"{program}: the arguments after --ros-args: {one_line(error, MAX_LINE)}")
    # SIGINT too: a shell script that starts the node with & has made it deaf to it, and start_process() too.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:  # it came meanwhile
        rclpy.try_shutdown()
        sys.exit(0)
    try:
        yield
    except ValueError as error:
        sys.exit(f"{program}: {error}")
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
