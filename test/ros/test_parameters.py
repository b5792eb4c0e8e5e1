from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from eventspd_ros.ros.parameters import NODE_PARAMETERS, PLAYER_PARAMETERS, declare, markdown

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("file", "table"), [("eventspd", NODE_PARAMETERS), ("bag_player", PLAYER_PARAMETERS)])
def test_yaml_shows_the_defaults(file, table):
    values = yaml.safe_load((ROOT / f"config/{file}.yaml").read_text())["/**"]["ros__parameters"]
    defaults = {p.name: p.default for p in table}
    assert {name: defaults[name] for name in values} == values
    assert set(defaults) - set(values) <= {"bag"}, "every parameter but the bag has a line in the file"


@pytest.mark.parametrize("table", [NODE_PARAMETERS, PLAYER_PARAMETERS])
def test_readme_shows_the_table(table):
    assert markdown(table) in (ROOT / "README.md").read_text()


def test_declared_values_are_the_given_ones(ros):
    node = Node(
        "n", parameter_overrides=[RosParameter("fx_px", value=123.5), RosParameter("allow_untrained", value=True)]
    )
    values = declare(node, NODE_PARAMETERS)
    assert values.fx_px == 123.5 and values.allow_untrained is True and values.preset == "minimal"
    described = node.describe_parameter("max_cache_age_ms")
    assert described.read_only and described.floating_point_range[0].from_value == 1.0
    node.destroy_node()


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("fx_px", "wide", "'wide'"),
        ("max_cache_age_ms", -5.0, "-5.0"),
        ("max_waiting_windows", 0, "0"),
        ("allow_untrained", 3, "3"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(ros, name, value, shown):
    node = Node("n", parameter_overrides=[RosParameter(name, value=value)])
    with pytest.raises(ValueError, match=name) as error:
        declare(node, NODE_PARAMETERS)
    assert shown in str(error.value) and "\n" not in str(error.value)
    node.destroy_node()
