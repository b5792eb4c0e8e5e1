import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

from eventspd_ros.benchmark.ablation import AblationConfig
from eventspd_ros.model.presets import MODEL_PRESETS
from eventspd_ros.simulation.event_sensor import HELD_OUT_PRESETS
from eventspd_ros.simulation.worlds import HELD_OUT_DOMAINS
from eventspd_ros.training.config import DataConfig, PretrainConfig, TrainConfig, read_config, to_yaml

ROOT = Path(__file__).parents[2]


def test_what_is_written_is_read_back(write_config, tmp_path):
    config = read_config(write_config())
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(config))
    assert read_config(again) == config and isinstance(config, TrainConfig)
    assert config.model().decoder.attention_dropout == 0.0 and config.model().preset == "eventspd_lite"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"losses": {"pointt": 1.0}}, "pointt"),
        ({"run": {"steps": "many"}}, "run.steps"),
        ({"run": {"batch": 3, "accumulate": 2}}, "accumulate"),
        ({"data": {"train": []}}, "data.train"),
        ({"changes": {"decoder": {"dims": 3}}}, "dims"),
        ({"preset": "huge"}, "huge"),
        ({"bptt": 0}, "bptt"),
    ],
)
def test_errors_name_the_file_and_the_key(write_config, changes, named):
    path = write_config(**changes)
    with pytest.raises(ValueError, match=named) as error:
        read_config(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_what_is_not_yaml_is_refused(tmp_path):
    path = tmp_path / "bad.yaml"
    for content in (b"a: [1", b"\xff\xfe\x00", b"!!python/object/apply:os.system ['true']"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no YAML"):
            read_config(path)
    with pytest.raises(ValueError, match="nowhere"):
        read_config(tmp_path / "nowhere.yaml")


TRAININGS = [p for p in sorted((ROOT / "config/train").glob("*.yaml")) if p.stem != "card"]  # test_recipe.py reads that


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_the_presets_are_read(path):
    kind = {"pretrain": PretrainConfig, "ablations": AblationConfig}.get(path.stem, TrainConfig)
    config = read_config(path, kind)
    config = config.budget if kind is AblationConfig else config
    assert config.model().preset in MODEL_PRESETS


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("config/train/*.yaml"), *ROOT.glob("docs/training_runs/*/*.yaml")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_no_training_names_what_is_held_out(path):
    words = set(re.findall(r"[a-z0-9]+", path.read_text().lower()))
    assert words.isdisjoint(HELD_OUT_DOMAINS + HELD_OUT_PRESETS)


def test_the_table_of_knobs_names_every_one():
    text = (ROOT / "docs/training.md").read_text()

    def knobs(kind, prefix=""):
        for item in fields(kind):
            default = item.default_factory() if item.default_factory is not MISSING else item.default
            nested = default if is_dataclass(default) else DataConfig if item.name == "data" else None
            yield from knobs(nested, f"{prefix}{item.name}.") if nested else [prefix + item.name]

    assert [knob for knob in knobs(TrainConfig) if f"`{knob}`" not in text] == []
