"""What is wanted of weights, on results made by hand, on the list that ships, and on real commands."""

import json
import math
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspd_ros.cli import main
from eventspd_ros.evaluation.judging import MEASURES, JudgedSet, Judging, Wanted, judge, read_judging, show_judgement
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.presets import build_model
from eventspd_ros.resources import find_resource

GROUPS = ("pooled", "drive", "indoor")


@pytest.fixture
def result():
    """Every number another one, so that none can stand in another's place."""

    def group(place: int) -> dict:
        edges = {"near_edges": {"abs_log": 0.15 + place}}
        return {"plain": {"abs_rel": 0.2 + place}, "bias": 1.1 + place, "correlation": 0.3 + place, **edges}

    def sigma(place: int) -> dict:
        ratio = {"ause_ratio": 0.4 + place}
        return {"coverage": {"68%": 0.6 + place, "95%": 0.9 + place}, "abs_rel": ratio, "nll": 0.5, "joint_nll": 0.25}

    def ratios(first: float) -> dict:
        return {"abs_log": {name: {"ratio": first + place} for place, name in enumerate(GROUPS)}}

    return {
        "judged": "small",
        "scenes": {"pooled": 4, "drive": 2, "indoor": 2},
        "accuracy": {
            "uniform": {
                name: {"small": group(place), "small (prior alone)": {"near_edges": {"abs_log": 0.5}}}
                for place, name in enumerate(GROUPS)
            }
        },
        "uncertainty": {"uniform": {"small": {name: sigma(place) for place, name in enumerate(GROUPS)}}},
        "comparison": {"uniform": {"small (memory reset)": ratios(0.7), "small (prior alone)": ratios(0.8)}},
    }


def test_every_measure_is_taken_from_its_place(result):
    expected = {
        "AbsRel": 1.2,
        "bias": 2.1,
        "correlation": 1.3,
        "in 68 %": 1.6,
        "in 95 %": 1.9,
        "AUSE / random": 1.4,
        "NLL - joint NLL": 0.25,
        "|log| / memory reset": 1.7,
        "|log| / prior alone": 1.8,
        "|log| / prior alone, near edges": 2.3,
    }
    assert {name: measure(result, "drive") for name, measure in MEASURES.items()} == pytest.approx(expected)


def test_each_is_every_domain_and_pooled_is_not_one(result):
    verdicts = list(Wanted(of="bias", group="each", most=2.5).verdicts("home", result))
    assert [(v.what, v.wanted, v.met) for v in verdicts] == [
        ("bias, drive", "≤ 2.5", True),
        ("bias, indoor", "≤ 2.5", False),
    ]
    assert [v.what for v in Wanted(of="bias", most=2.5).verdicts("home", result)] == ["bias"]


def test_a_number_that_is_not_there_is_missed(result):
    result["comparison"]["uniform"] = {}
    result["uncertainty"]["uniform"]["small"]["pooled"]["joint_nll"] = None
    for measure in ("|log| / memory reset", "NLL - joint NLL"):
        (verdict,) = Wanted(of=measure, least=-math.inf).verdicts("home", result)
        assert verdict.value is None and not verdict.met


@given(st.floats(-3, 3), st.none() | st.floats(-3, 3), st.none() | st.floats(-3, 3))
def test_ends_count_as_met(value, least, most):
    result = {"judged": "m", "accuracy": {"uniform": {"pooled": {"m": {"bias": value}}}}}
    (verdict,) = Wanted(of="bias", least=least, most=most).verdicts("set", result)
    assert verdict.met == ((least is None or least <= value) and (most is None or value <= most))


def test_the_list_that_ships_is_whole():
    judging = read_judging(find_resource("config/eval/judging.yaml"))
    assert all(judged.wanted for judged in judging.sets)
    assert {"home", "vga", "held_out_content", "slow", "slider_depth"} <= {judged.name for judged in judging.sets}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sets: [{name: a, simulate: x, wanted: [{of: luck}]}]", "'luck': must be one of AbsRel"),
        ("sets: [{name: a}]", "set 'a': give either simulate or recording"),
        ("sets: [{name: a, simulate: x}, {name: a, simulate: y}]", "each once"),
        ("sets: []", "name one or more"),
        ("sets: {", "flow"),
        ("sheep: 1", "unknown keys ['sheep']"),
    ],
)
def test_a_list_that_is_none_is_one_line(tmp_path, text, said):
    path = tmp_path / "sets.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_judging(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "minimal.safetensors"
    save_checkpoint(build_model("minimal"), path)
    return path


def test_sets_are_made_asked_and_held_against_what_is_wanted(tmp_path, weights, capsys, monkeypatch):
    path, out = tmp_path / "sets.yaml", tmp_path / "judged"
    path.write_text("""
sets:
  - name: tiny
    simulate: --domains drive --scenes 1 --duration 0.15 --size 64x48
    ask: --queries 20
    wanted: [{of: AbsRel, most: 1000}, {of: in 95 %, group: drive, least: 2}]
  - {name: real, recording: not/there, wanted: [{of: bias, most: 1}]}
""")
    with pytest.raises(SystemExit) as left:
        main(["judge", str(path), "--weights", str(weights), "--out", str(out)])
    said = capsys.readouterr().out
    assert left.value.code == 1
    lines = [line.split() for line in said.splitlines()]
    assert lines[1][:2] == ["tiny", "AbsRel"] and lines[1][-1] == "met" and lines[2][-1] == "MISSED"
    assert f"eventspd evaluate {out}/sets/tiny --queries 20 --weights {weights}" in said
    assert "real: left out" in said
    (folder,) = out.glob("minimal-*")
    judged = json.loads((folder / "judged.json").read_text())
    assert judged["left_out"] == ["real"] and [verdict["met"] for verdict in judged["verdicts"]] == [True, False]
    assert "uncertainty" in (folder / "tiny.txt").read_text()

    monkeypatch.setattr(sys, "executable", "/bin/false")  # what is there is not made again
    judging = read_judging(path)
    again = judge(judging, str(weights), out)
    assert [v.met for v in again.verdicts] == [True, False] and "MISSED" in show_judgement(again)
    other = Judging((replace(judging.sets[0], ask="--queries 21"),))
    with pytest.raises(ValueError, match="ended with status 1"):  # another question
        judge(other, str(weights), out)
    with pytest.raises(ValueError, match=r"sets \['home'\]: known are tiny, real"):
        judge(judging, str(weights), out, only=["home"])


def test_a_command_that_fails_is_named(tmp_path, weights, capfd):
    judging = Judging((JudgedSet(name="bad", simulate="--domains moon"),))
    with pytest.raises(ValueError, match=r"eventspd simulate .*moon.* ended with status 2"):
        judge(judging, str(weights), tmp_path / "out")
    assert "moon" in capfd.readouterr().err
