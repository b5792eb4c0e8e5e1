from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from eventspd_ros.predictor import QueryMode
from eventspd_ros.ros.outside import node_under_test
from eventspd_ros.ros.outside.node_under_test import NodeUnderTest, ros_process


def test_parameters_reach_the_command_line_with_their_types_and_topics_that_are_none_do_not(monkeypatch):
    commands = []
    ended = SimpleNamespace(poll=lambda: 0, wait=lambda timeout_s: 0)
    monkeypatch.setattr(node_under_test, "start_process", lambda command: commands.append(command) or ended)
    given = {"weights": "", "name": "123", "path": str(Path("/a b")), "flag": True, "count": 3, "px": 0.0}
    given |= {"topics": ["/events", "/clock"], "query_mode": QueryMode.EXACT}
    with ros_process("node", given, {"events": "/camera/events", "pose": None}):
        pass
    arguments = commands[0][commands[0].index("--ros-args") + 1 :]
    pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
    assert [value for kind, value in pairs if kind == "-r"] == ["events:=/camera/events"]
    parameters = dict(value.split(":=", 1) for kind, value in pairs if kind == "-p")
    read = {name: yaml.safe_load(value) for name, value in parameters.items()}
    assert read == given and [type(read[name]) for name in ("name", "flag", "count", "px")] == [str, bool, int, float]


def diagnostics(name: str, level: bytes = DiagnosticStatus.OK, **values: str) -> DiagnosticArray:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(status=[DiagnosticStatus(name=name, level=level, message="why", values=pairs)])


def test_diagnostics_are_those_of_the_node_alone_and_its_error_is_raised(ros):
    driver = NodeUnderTest("driver")
    for name, state in (("/eventspd: node", "active"), ("/left/eventspd: node", "x"), ("/eventspd_soak: node", "x")):
        driver._on_diagnostics(diagnostics(name, state=state))
    assert driver.diagnostics == {"state": "active"}
    with pytest.raises(ValueError, match="/eventspd: stream: why"):
        driver._on_diagnostics(diagnostics("/eventspd: stream", DiagnosticStatus.ERROR))
    assert not driver.spin_until(lambda: False, 0.05)
    driver.process = SimpleNamespace(poll=lambda: -9, returncode=-9)
    with pytest.raises(ValueError, match="exit status -9"):
        driver.spin_until(lambda: False, 5.0)
    driver.destroy_node()
