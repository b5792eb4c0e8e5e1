"""A thread that spins nodes."""

import threading

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node


class Spinner:
    """Serves the nodes until close().

    The thread ends before the executor does: rclpy's shutdown takes away what the end of a callback still needs
    (InvalidHandle), now and then on a slow machine.
    """

    def __init__(self, *nodes: Node):
        self._executor = SingleThreadedExecutor()
        for node in nodes:
            self._executor.add_node(node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._executor.shutdown()
