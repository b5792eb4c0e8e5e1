"""The release's targets, on results made by hand."""

import json

import pytest
from release_check import Target, check_targets, main


def ratios(ratio: float, won: float) -> dict:
    values = {group: {"ratio": ratio + i, "won": won + i} for i, group in enumerate(("pooled", "drive", "indoor"))}
    return {"abs_rel": values, "abs_log": {group: {**row, "ratio": row["ratio"] / 2} for group, row in values.items()}}


@pytest.fixture
def result():
    """Every number another one, so that none can stand in another's place."""
    others = ("coordinates", "coordinates+domain", "minimal", "small (memory reset)", "dense")
    covered = {
        group: {"coverage": {"68%": 0.6 + i / 20, "95%": 0.9 + i / 20}, "abs_rel": {"ause_ratio": 0.3 + i}}
        for i, group in enumerate(("pooled", "drive", "indoor"))
    }
    return {
        "dataset": "simulated",
        "judged": "small",
        "scenes": {"pooled": 4, "drive": 2, "indoor": 2},
        "comparison": {"uniform": {other: ratios(0.1 * i, 0.01 * i) for i, other in enumerate(others)}},
        "accuracy": {"uniform": {"drive": {"small": {"plain": {"abs_rel": 0.2, "delta1": 0.8}}}}},
        "uncertainty": {"uniform": {"small": covered}},
    }


def test_targets_are_met_at_their_ends():
    assert Target("x", 0.5, high=0.5).met and Target("x", 0.5, low=0.5).met and Target("x", 0.64, 0.64, 0.72).met
    assert not Target("x", 0.51, high=0.5).met and not Target("x", 0.49, low=0.5).met


def test_targets_are_taken_from_their_places(result):
    expected = {
        "abs_rel / that of coordinates, pooled": 0.0,
        "abs_rel / that of coordinates+domain, pooled": 0.1,
        "abs_log / that of coordinates+domain, pooled": 0.05,
        "abs_log / that of minimal, pooled": 0.1,
        "abs_log / that of small (memory reset), pooled": 0.15,
        "scenes better than coordinates+domain, drive": 1.01,
        "scenes better than coordinates+domain, indoor": 2.01,
        "abs_rel, drive": 0.2,
        "delta1, drive": 0.8,
        "in the 68% interval, drive": 0.65,
        "in the 68% interval, indoor": 0.7,
        "in the 95% interval, drive": 0.95,
        "in the 95% interval, indoor": 1.0,
        "AUSE of AbsRel / random order's, pooled": 0.3,
    }
    assert {target.name: target.value for target in check_targets(result)} == pytest.approx(expected)


def test_it_says_which_are_missed_and_fails(result, tmp_path, capsys):
    path = tmp_path / "out.json"
    path.write_text(json.dumps(result))
    assert main(str(path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:]].count("MISSED") == 2 and len(lines) == 15
    assert "delta1, drive ≥ 0.75 0.800 met" in [" ".join(line.split()) for line in lines]


def test_of_real_recordings_nothing_is_wanted(result):
    with pytest.raises(ValueError, match="dataset 'mvsec': targets are of simulated scenes"):
        check_targets({**result, "dataset": "mvsec"})
