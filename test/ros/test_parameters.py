from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from eventspd_ros.resources import DEFAULT_WEIGHTS
from eventspd_ros.ros.live_parameters import LiveParameters
from eventspd_ros.ros.parameters import NODE_PARAMETERS, PLAYER_PARAMETERS, declare, document
from eventspd_ros.ros.shared_model import model_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("file", "table"), [("eventspd", NODE_PARAMETERS), ("bag_player", PLAYER_PARAMETERS)])
def test_yaml_shows_the_defaults(file, table):
    values = yaml.safe_load((ROOT / f"config/{file}.yaml").read_text())["/**"]["ros__parameters"]
    defaults = {p.name: p.default for p in table}
    assert {name: defaults[name] for name in values} == values
    assert set(defaults) - set(values) <= {"bag"}, "every parameter but the bag has a line in the file"


def test_the_documentation_is_the_declaration():
    written = (ROOT / "docs/parameters.md").read_text()
    assert written == document(), "run: python -m eventspd_ros.ros.parameters > docs/parameters.md"


def test_the_default_weights_come_with_the_package_and_fit_the_other_defaults():
    values = {p.name: p.default for p in NODE_PARAMETERS} | {"device": "cpu"}
    model = model_for(SimpleNamespace(**values))
    assert model.trained and model.config.preset == DEFAULT_WEIGHTS


def test_every_parameter_says_what_it_is():
    for p in (*NODE_PARAMETERS, *PLAYER_PARAMETERS):
        assert p.description and (p.unit != "" or not p.name.endswith(("_ms", "_s", "_px", "_width", "_height"))), p


class Told:
    """A node with the node's parameters that counts changes."""

    def __init__(self, **values):
        self.changes = 0
        self.node = Node("n", parameter_overrides=[RosParameter(n, value=v) for n, v in values.items()])
        self.live = LiveParameters(self.node, self._on_change)

    def _on_change(self):
        self.changes += 1

    def set(self, **values):
        """The reason of a refusal, None where all was accepted."""
        parameters = [RosParameter(name.replace("__", "."), value=value) for name, value in values.items()]
        result = self.node.set_parameters_atomically(parameters)
        return None if result.successful else result.reason


@pytest.fixture
def told(ros):
    made = []

    def make(**values):
        made.append(Told(**values))
        return made[-1]

    yield make
    for one in made:
        one.node.destroy_node()


def test_declared_values_are_the_given_ones(told):
    one = told(fx_px=123.5, allow_untrained=True)
    values = one.live.values
    assert values.fx_px == 123.5 and values.allow_untrained is True and values.preset == "minimal"
    described = one.node.describe_parameter("max_cache_age_ms")
    assert described.floating_point_range[0].from_value == 1.0 and "ms" in described.additional_constraints
    assert not one.node.describe_parameter("query_mode").read_only


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("fx_px", "wide", "'wide'"),
        ("max_cache_age_ms", -5.0, "-5.0"),
        ("max_waiting_windows", 0, "0"),
        ("allow_untrained", 3, "3"),
        ("query_mode", "newest", "'newest'"),
        ("streams", "left", "write [left]"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(ros, name, value, shown):
    node = Node("n", parameter_overrides=[RosParameter(name, value=value)])
    with pytest.raises(ValueError, match=name) as error:
        declare(node, NODE_PARAMETERS)
    assert shown in str(error.value) and "\n" not in str(error.value)
    node.destroy_node()


def test_live_parameters_change_while_configured_and_the_rest_is_refused_with_a_reason(told):
    one = told()
    one.live.read()
    one.live.configured = True
    for p in NODE_PARAMETERS:
        value = p.default if not isinstance(p.default, float) else p.default + 1.0
        reason = one.set(**{p.name: value})
        assert (reason is None) == p.live, p
        if p.live:
            assert getattr(one.live.values, p.name) == value
        else:
            assert p.name in reason and "configured" in reason and "cleanup" in reason
    assert one.changes == sum(p.live for p in NODE_PARAMETERS)
    one.live.configured = False
    assert one.set(device="cpu") is None
    one.live.read()
    assert one.live.values.device == "cpu"


def test_one_wrong_value_of_several_changes_none(told):
    one = told()
    one.live.read()
    one.live.configured = True
    assert "device" in one.set(max_wait_ms=7.0, device="cpu")
    assert "out of" in one.set(max_wait_ms=-1.0).lower() or one.live.values.max_wait_ms == 50.0
    assert one.live.values.max_wait_ms == 50.0 and one.changes == 0
    assert one.set(use_sim_time=True) is None  # not of our table


def test_each_named_stream_has_its_own(told):
    one = told(streams=["left", "right"], fx_px=100.0, **{"right.fx_px": 200.0})
    one.live.read()
    assert (one.live.streams["left"].fx_px, one.live.streams["right"].fx_px) == (100.0, 200.0)
    one.live.configured = True
    assert one.set(left__fx_px=150.0) is None
    assert (one.live.streams["left"].fx_px, one.live.streams["right"].fx_px) == (150.0, 200.0)
    assert "left.fx_px" in one.set(fx_px=5.0)
    assert "right.sensor_width" in one.set(right__sensor_width=5)
    one.live.configured = False  # a default changed now would not reach what is declared
    assert "left.fx_px" in one.set(fx_px=5.0) and one.set(left__fx_px=5.0) is None
    one.live.read()
    assert (one.live.streams["left"].fx_px, one.live.streams["right"].fx_px) == (5.0, 200.0)
    assert one.set(streams=[""]) is None and one.set(fx_px=7.0) is None  # now it is the one stream's own
    one.live.read()
    assert one.live.streams[""].fx_px == 7.0
