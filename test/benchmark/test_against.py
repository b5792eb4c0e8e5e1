"""A report beside an earlier one."""

import json

import pytest

from eventspd_ros.benchmark.against import compare_reports, read_report
from eventspd_ros.cli import main

OLD = {
    "bench": "model",
    "preset": "minimal",
    "sensor": "80x60",
    "events": 1056,
    "encode_ms": {"median": 4.0, "p95": 8.0},
    "decode_ms": {"1": {"median": 1.0}, "64": {"median": 2.0}},
    "peak_memory_bytes": 1000,
    "events_per_second": 0,
    "window_ms": 20.0,
    "repetitions": 30,
    "machine": "A",
    "versions": {"torch": "2.6"},
}


def test_ratios_of_what_was_measured():
    new = {**OLD, "encode_ms": {"median": 3.0, "p95": 10.0, "p99": 11.0}, "decode_ms": {"1": {"median": 0.5}}}
    new |= {"peak_memory_bytes": 1500, "repetitions": 60}
    compared = compare_reports(new, OLD)
    assert compared["differs"] == []
    assert compared["ratios"] == {
        "encode_ms.median": 0.75,
        "encode_ms.p95": 1.25,
        "decode_ms.1.median": 0.5,
        "peak_memory_bytes": 1.5,
    }


def test_other_circumstances_are_said():
    new = {**OLD, "machine": "B", "versions": {"torch": "2.13"}}
    assert compare_reports(new, OLD)["differs"] == [
        "machine: was A, is B",
        "versions: was {'torch': '2.6'}, is {'torch': '2.13'}",
    ]


@pytest.mark.parametrize(("key", "value"), [("preset", "eventspd"), ("sensor", "640x480"), ("batch", 4)])
def test_another_question_is_refused(key, value):
    with pytest.raises(ValueError, match=f"{key} was .* and is .*not the same measurement"):
        compare_reports({**OLD, key: value}, OLD)


def test_what_is_no_report_is_refused(tmp_path):
    path = tmp_path / "old.json"
    for content, said in (
        (json.dumps(OLD), "a report of bench 'model'; give one that `eventspd bench decode"),
        ("[]", "a report of bench None"),
        ("{", "cannot be read as a benchmark's JSON"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=said) as error:
            read_report(path, "decode")
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no such file"):
        read_report(tmp_path / "missing.json", "decode")


def test_the_command_line(tmp_path, capsys):
    """A run, the same again beside it, and beside one from elsewhere."""
    command = ["bench", "model", "--preset", "minimal", "--sensor", "80x60", "--k", "4", "--repetitions", "2", "--json"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    path = tmp_path / "first.json"
    path.write_text(json.dumps(first | {"machine": "another"}))
    assert main([*command, "--against", str(path)]) == 0
    shown = capsys.readouterr()
    again = json.loads(shown.out)
    ratio = again["encode_ms"]["median"] / first["encode_ms"]["median"]
    assert again["against"]["ratios"]["encode_ms.median"] == pytest.approx(ratio, abs=1e-3)
    assert f"warning: {path}: machine: was another, is {first['machine']}" in shown.err
    assert again["input_sha256"] == first["input_sha256"] and again["repetitions"] == 2

    path.write_text(json.dumps(first | {"preset": "eventspd"}))
    assert main([*command, "--against", str(path)]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["encode_ms"], "what was measured is not lost"
    assert "preset was 'eventspd' and is 'minimal'" in shown.err
    assert main([*command[:-3], "--repetitions", "0"]) == 2 and "--repetitions 0" in capsys.readouterr().err
