"""How a process of this package starts and ends, whoever ends it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions


@contextmanager
def ros_context(args: list[str] | None) -> Iterator[None]:
    """rclpy around a process's work: SIGINT and SIGTERM end it cleanly, a ValueError is one line and exit status 1.

    rclpy's own signal handlers would invalidate the context first, and the last answers could not be published.
    """
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except ValueError as error:
        sys.exit(f"{sys.argv[0].rsplit('/', 1)[-1]}: {error}")
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
