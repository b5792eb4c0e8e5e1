"""The ROS 2 lifecycle node: event packets (or images) and keypoints in, metric depths with their uncertainty out.

    in   events (event_camera_msgs/EventPacket) or image (sensor_msgs/Image), camera_info (sensor_msgs/CameraInfo),
         keypoints (KeypointArray); odometry (nav_msgs/Odometry) or pose (geometry_msgs/PoseStamped, …) if the parameter
         motion says so
    out  ~/keypoint_depths (KeypointDepthArray), /diagnostics (diagnostic_msgs/DiagnosticArray, 1 Hz); while someone
         listens: ~/points (PointCloud2), ~/depth/image with ~/depth/camera_info, ~/overlay (Image) and a coarse map of
         the whole image (~/depth/coarse/…)

configure loads the model, activate subscribes, deactivate answers the waiting requests, cleanup frees the model.

This file has the lifecycle only. A Camera (camera.py) converts and publishes one camera's messages. Its Stream
(stream.py) has queues and threads; one encoder thread (encoder.py) serves all streams. The Predictor (predictor.py)
computes. docs/node.md tells the whole.
"""

from __future__ import annotations

import gc
import time

import rclpy
import torch
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import Trigger

from eventspd_ros.model.acceleration import accelerate
from eventspd_ros.model.threads import half_of_the_cores
from eventspd_ros.ros.camera import Camera
from eventspd_ros.ros.diagnostics import Updater
from eventspd_ros.ros.encoder import EncoderThread
from eventspd_ros.ros.live_parameters import LiveParameters
from eventspd_ros.ros.process import ros_context
from eventspd_ros.ros.shared_model import SensorTables, model_for, warm_up
from eventspd_ros.ros.workers import MAX_LINE, Reporter
from eventspd_ros.text import one_line

TICK_S = 0.05
ANY_FALL = Duration(nanoseconds=-1)


class EventspdNode(LifecycleNode):
    """The node is unconfigured after construction. start() configures and activates it if the parameter autostart is
    true; close() shuts it down from any state.

    cameras: by stream name, from configure to cleanup. fault: why configure failed or the node went to error; None: it
    did not. finished: a future that is done when the node has shut down.
    """

    def __init__(self, **node_options):
        """ValueError: a parameter has the wrong type or range."""
        super().__init__("eventspd", **node_options)
        self.reporter = Reporter(self.get_logger())
        self.parameters = LiveParameters(self, self._apply)
        self.model = None
        self.encoder: EncoderThread | None = None
        self.cameras: dict[str, Camera] = {}
        self.fault: str | None = None
        self.finished: Future = Future()
        self._pending_fault: str | None = None
        self._ticked_s = float("-inf")
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=ANY_FALL, on_clock_change=True), post_callback=self._on_jump
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(TICK_S, self._tick, clock=steady)
        self._updater = Updater(self, steady)

    @property
    def state(self) -> str:
        """unconfigured, inactive, active, finalized, or the name of a transition."""
        return self._state_machine.current_state[1]

    def start(self) -> None:
        """Configure and activate, where the parameter autostart says so."""
        if self.parameters.values.autostart and self._went(self.trigger_configure()):
            self.trigger_activate()

    def close(self) -> None:
        """Shut down from any state. Waiting requests are answered first."""
        if self.state in ("unconfigured", "inactive", "active"):
            self.trigger_shutdown()

    @staticmethod
    def _went(result: TransitionCallbackReturn) -> bool:
        return result == TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.fault = self._pending_fault = None
        try:
            self.parameters.read()
            self.model = model_for(self.parameters.values)
            warm_up(self.model, motion=self.parameters.values.motion != "none")
            self.model = accelerate(self.model, self.parameters.values.acceleration, self.get_logger().info)
            tables = SensorTables(self.model)
            for name in self.parameters.streams:
                self.cameras[name] = Camera(self, name, self.parameters, self.model, tables)
        except Exception as error:  # of CUDA, of a file system, …: the node must say why and stay
            self.fault = f"configure failed: {_reason(error)}"
            self.get_logger().error(self.fault)
            self._free()
            return TransitionCallbackReturn.FAILURE
        self.parameters.configured = True
        if not self.model.trained:
            self.get_logger().warning(
                f"UNTRAINED: preset {self.model.config.preset} has random weights; depths mean nothing and are "
                + ("marked OK as allow_untrained is true" if self.parameters.values.allow_untrained else "not given")
            )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)  # activates the publishers, ahead of the first answer
        try:
            self.encoder = EncoderThread(self.parameters.values.max_waiting_windows, self.reporter, self.report_fault)
            self.encoder.start()
            for camera in self.cameras.values():
                camera.activate(self.encoder)
        except Exception as error:
            self.get_logger().error(f"activate failed: {_reason(error)}")
            self._stop()
            super().on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        result = super().on_deactivate(state)
        return TransitionCallbackReturn.ERROR if self.fault else result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._free()
        if not self.finished.done():
            self.finished.set_result(True)
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything. The node is unconfigured afterwards and can be configured again."""
        self._stop()
        self._free()
        self.get_logger().error(f"now unconfigured, after: {self.fault or 'an error in a transition'}")
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        """Answer the waiting requests, then end the streams and the encoder."""
        for camera in self.cameras.values():
            if not camera.deactivate():
                self.get_logger().error(f"stream {camera.name!r}: a thread did not end in time and was left behind")
        if self.encoder is not None:
            if not self.encoder.close():
                self.get_logger().error("the encoder's thread did not end in time and was left behind")
            self._log_what_was_done()
        self.encoder = None

    def _free(self) -> None:
        """Free publishers, model and the device's memory."""
        while self.cameras:  # popped without a name, which would keep the last one and its model alive
            if not self.cameras.popitem()[1].destroy():
                self.get_logger().error("a thread that draws did not end in time and was left behind")
        self.model = None
        self.parameters.configured = False
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _log_what_was_done(self) -> None:
        for camera in self.cameras.values():
            if (stream := camera.stream) is None:
                continue  # activate failed before its turn
            self.get_logger().info(
                f"{camera.name or 'stream'}: windows_encoded {stream.lane.encoded}, "
                f"windows_dropped {stream.windows_dropped}, requests_answered {stream.desk.answered}"
            )

    def _apply(self) -> None:
        for camera in self.cameras.values():
            camera.apply()

    def report_fault(self, reason: str) -> None:
        """Have the next tick take the node to error. Any thread may call this."""
        self._pending_fault = self._pending_fault or reason

    def _tick(self) -> None:
        if self.encoder is None:
            return
        if self._pending_fault is not None:
            self.fault = self._pending_fault
            self.get_logger().error(self.fault)
            self.trigger_deactivate()  # which returns ERROR
            return
        late = time.monotonic() - self._ticked_s > 2 * TICK_S
        self._ticked_s = time.monotonic()
        if late:
            return  # the executor was busy, and runs timers first: packets may wait, so the streams are not silent
        now_ns = self.get_clock().now().nanoseconds
        for camera in self.cameras.values():
            camera.active_stream.put_time(now_ns)

    def _on_jump(self, jump) -> None:
        """The ROS clock jumped back (a bag loop), or changed to or from simulated time."""
        if self.encoder is not None:
            now_ns = self.get_clock().now().nanoseconds
            for camera in self.cameras.values():
                camera.active_stream.ros_clock_fell(now_ns)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self.encoder is not None
        response.message = "reset" if response.success else f"nothing to reset: the node is {self.state}"
        if response.success:
            for camera in self.cameras.values():
                camera.active_stream.reset()
        return response


def _reason(error: Exception) -> str:
    """One line for the user. Errors other than ValueError, whose text is written for users, are named by their type."""
    return ("" if isinstance(error, ValueError) else f"{type(error).__name__}: ") + one_line(str(error), MAX_LINE)


def main(args: list[str] | None = None) -> None:
    """ros2 run eventspd_ros eventspd_node"""
    with half_of_the_cores(), ros_context(args):
        node = EventspdNode()
        try:
            node.start()
            rclpy.spin_until_future_complete(node, node.finished)
        finally:
            node.close()
            node.destroy_node()


if __name__ == "__main__":
    main()
