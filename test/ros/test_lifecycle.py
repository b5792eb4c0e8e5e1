"""Every transition from every state, also repeated and out of order; what each one makes and lets go of."""

import random
import threading
import time
import weakref

import pytest
import streams
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from reference.places import held_bytes

from eventspd_ros.ros.node import EventspdNode

NEXT = {
    ("unconfigured", "configure"): "inactive",
    ("unconfigured", "shutdown"): "finalized",
    ("inactive", "activate"): "active",
    ("inactive", "cleanup"): "unconfigured",
    ("inactive", "shutdown"): "finalized",
    ("active", "deactivate"): "inactive",
    ("active", "shutdown"): "finalized",
}
TRANSITIONS = ("configure", "activate", "deactivate", "cleanup", "shutdown")
WAY = {
    "unconfigured": (),
    "inactive": ("configure",),
    "active": ("configure", "activate"),
    "finalized": ("shutdown",),
}


@pytest.fixture
def make(ros):
    made = []

    def make(**parameters):
        values = {"weights": ""} | parameters
        made.append(EventspdNode(parameter_overrides=[RosParameter(n, value=v) for n, v in values.items()]))
        return made[-1]

    yield make
    for node in made:
        node.close()
        node.destroy_node()


def trigger(node, transition) -> bool:
    try:
        return getattr(node, f"trigger_{transition}")() == TransitionCallbackReturn.SUCCESS
    except Exception as error:  # rclpy raises for a shutdown of what is shut down
        assert transition == "shutdown", error
        return False


def own_threads() -> list[str]:
    known = ("encoder", "intake", "answer", "outputs")
    return sorted(t.name for t in threading.enumerate() if t.name.split()[0] in known)


def check(node):
    """What each state holds."""
    active, configured = node.state == "active", node.state in ("active", "inactive")
    assert (node.model is not None) == configured and (len(node.cameras) == 1) == configured
    assert own_threads() == ["answer", "encoder", "intake"] * active + ["outputs"] * configured
    topics = {s.topic_name for s in node.subscriptions} & {"/events", "/camera_info", "/keypoints"}
    assert len(topics) == (3 if active else 0)


@pytest.mark.parametrize("state", WAY)
def test_every_transition_from_every_state(make, state):
    for transition in TRANSITIONS:
        node = make()
        for step in WAY[state]:
            assert trigger(node, step)
        assert node.state == state
        assert trigger(node, transition) == ((state, transition) in NEXT)
        assert node.state == NEXT.get((state, transition), state)
        check(node)
        node.close()


def test_a_long_walk_through_the_states(make):
    node, walk, state = make(), random.Random(3), "unconfigured"
    visited = []
    for _ in range(40):
        transition = walk.choice(TRANSITIONS[:4])
        assert trigger(node, transition) == ((state, transition) in NEXT)
        state = NEXT.get((state, transition), state)
        assert node.state == state
        check(node)
        visited.append(state)
    assert visited.count("active") > 2 and visited.count("unconfigured") > 2


def test_over_the_services_as_a_lifecycle_manager_does_it(make):
    node, client = make(), Node("manager")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(client)
    change = client.create_client(ChangeState, "/eventspd/change_state")
    get = client.create_client(GetState, "/eventspd/get_state")
    assert change.wait_for_service(10) and get.wait_for_service(10)

    def call(service, request):
        future = service.call_async(request)
        executor.spin_until_future_complete(future, 20)
        return future.result()

    steps = [
        "activate",
        "configure",
        "configure",
        "activate",
        "cleanup",
        "deactivate",
        "activate",
        "deactivate",
        "cleanup",
    ]
    state = "unconfigured"
    for step in steps:
        wanted = Transition(id=getattr(Transition, f"TRANSITION_{step.upper()}"))
        assert call(change, ChangeState.Request(transition=wanted)).success == ((state, step) in NEXT)
        state = NEXT.get((state, step), state)
        assert call(get, GetState.Request()).current_state.label == state
    client.destroy_node()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_cleanup_lets_go_of_the_model_and_its_memory(make, device):
    node, held = make(fx_px=60.0, allow_untrained=True, device=device), []
    for _ in range(2):  # what libraries keep for good is there after the first
        node.start()
        running_model, stream = weakref.ref(node.model), node.cameras[""].stream
        for packet in streams.make_packets(15):  # 60 ms: some windows
            stream.put_packet(streams.serialized(packet))
        until_s = time.monotonic() + 60
        while not stream.lane.encoded and time.monotonic() < until_s:
            time.sleep(0.01)
        assert stream.lane.encoded, "no window was encoded within a minute"
        running, streams_seen = held_bytes(device), weakref.ref(stream)
        del stream
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert running_model() is None and streams_seen() is None
        held.append(held_bytes(device))
        assert held[-1] < running
    assert held[1] == held[0]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"preset": "huge"}, "huge"),
        ({"preset": "hd_small"}, "hd_small"),
        ({"weights": "/no/such.safetensors"}, "/no/such.safetensors"),
        ({"weights": "no_such_name"}, "those that do: eventspd_lite"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"device": "toaster"}, "toaster"),
        ({"streams": ["left", "left"]}, "left"),
        ({"streams": ["left/eye"]}, "left/eye"),
        ({"hot_pixels_file": "/no/hot.txt", "sensor_width": 64, "sensor_height": 48}, "/no/hot.txt"),
        ({"hot_pixels_file": "/no/hot.txt"}, "/no/hot.txt"),
        ({"sensor_width": 4096, "sensor_height": 4096}, "4096x4096"),
        ({"preset": "eventspd_lite", "sensor_width": 16, "sensor_height": 16}, "16x16 pixels: this model needs"),
        ({"streams": ["left"], "left.fx_px": -1.0}, "left.fx_px"),
    ],
)
def test_a_configure_that_fails_says_why_and_leaves_the_node_unconfigured(make, parameters, said, capfd):
    node = make(**parameters)
    node.start()
    assert node.state == "unconfigured" and said in node.fault and "\n" not in node.fault
    check(node)
    lines = [line for line in capfd.readouterr().err.splitlines() if node.fault in line]
    assert len(lines) == 1
    for name, good in {"preset": "minimal", "weights": "", "device": "cpu"}.items():
        if name in parameters:
            assert all(r.successful for r in node.set_parameters([RosParameter(name, value=good)]))
            assert trigger(node, "configure") and node.fault is None


def test_an_activate_that_fails_leaves_the_node_inactive(make, tmp_path, capfd):
    """A file that was right when the node was configured; the second stream's turn never comes."""
    file = tmp_path / "hot.txt"
    file.write_text("1 1\n")
    size = {f"{name}.sensor_{side}": 64 for name in ("left", "right") for side in ("width", "height")}
    node = make(autostart=False, streams=["left", "right"], **size, **{"left.hot_pixels_file": str(file)})
    assert trigger(node, "configure")
    file.write_text("1 1\nhello\n")
    assert not trigger(node, "activate") and node.state == "inactive"
    assert f"activate failed: {file}, line 2" in capfd.readouterr().err
    assert own_threads() == ["outputs left", "outputs right"]
    file.write_text("1 1\n")
    assert trigger(node, "activate") and node.state == "active"


def test_a_tick_that_comes_late_tells_nobody_of_a_silence(make):
    """The executor was busy: packets may wait behind the tick."""
    node = make()
    node.start()
    told = []
    node.cameras[""].stream.put_time = told.append
    node._ticked_s = time.monotonic() - 1.0
    node._tick()
    assert told == []
    node._tick()
    assert len(told) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        {"query_mode": "newest"},
        {"max_waiting_packets": 0},
        {"fx_px": "wide"},
        {"events_type": "sensor_msgs/msg/Image"},
        {"keypoints_layout": "orb"},
        {"keypoints_coordinates": "feet"},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_at_construction(make, parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))) as error:
        make(**parameters)
    assert "\n" not in str(error.value)


def test_without_autostart_the_node_waits(make):
    node = make(autostart=False)
    node.start()
    assert node.state == "unconfigured" and node.fault is None


def test_a_model_that_always_fails_takes_the_node_to_error_and_it_can_come_back(make):
    node = make(fx_px=60.0, allow_untrained=True)
    node.start()
    node.model.encode = lambda *a: (_ for _ in ()).throw(RuntimeError("CUDA error: device lost"))
    stream = node.cameras[""].stream
    for packet in streams.make_packets(60):
        stream.put_packet(streams.serialized(packet))
        time.sleep(0.005)
    streams.until(lambda: node._pending_fault)
    node._tick()
    assert node.state == "unconfigured" and "device lost" in node.fault
    check(node)
    assert trigger(node, "configure") and trigger(node, "activate") and node.fault is None
    check(node)


def test_a_thread_that_dies_takes_the_node_to_error(make):
    node = make()
    node.start()
    node.cameras[""].stream._parts.__dict__["parse"] = lambda raw: (_ for _ in ()).throw(SystemExit("killed"))
    node.cameras[""].stream.put_packet(b"")
    streams.until(lambda: node._pending_fault)
    node._tick()
    assert node.state == "unconfigured" and "intake died" in node.fault and "killed" in node.fault
    check(node)
