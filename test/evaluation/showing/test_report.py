"""`eventspd evaluate --report`: one page that holds all it shows."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import cv2
import numpy as np
import pytest
from reference.models import small_model
from reference.teachers import write_teacher
from reference.windows import random_window, randomise

from eventspd_ros.benchmark import latency
from eventspd_ros.cli import main
from eventspd_ros.evaluation import sweeps
from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.evaluate import evaluate_checkpoints
from eventspd_ros.evaluation.showing.figures import Example, draw_example, png
from eventspd_ros.evaluation.showing.published import COLUMNS, ELSEWHERE, ELSEWHERE_COLUMNS, MVSEC
from eventspd_ros.evaluation.showing.report import write_report
from eventspd_ros.model.checkpoints import save_checkpoint
from eventspd_ros.model.presets import build_model


class Page(HTMLParser):
    """Texts of cells, sources of images, and whether every tag that was opened is closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.sources, self.cells, self.headings, self.links = [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src") if name in attributes and tag != "img"]
        if tag == "img":
            assert attributes["alt"]
            self.sources.append(attributes["src"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def folder(tiny_set, tiny_train_set, tmp_path_factory):
    """Everything at once. The dense baseline is a tiny network of the real class, as the real one takes seconds."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    out = tmp_path_factory.mktemp("report")
    save_checkpoint(randomise(small_model(parametrization="log")), out / "small.safetensors")
    save_checkpoint(build_model("mvsec_small"), out / "f3.safetensors")
    dense = [str(out / "f3.safetensors"), str(write_teacher(out / "dav2"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "REPETITIONS", 2)
        patch.setattr(latency, "KS", (1, 16))
        patch.setattr(sweeps, "SCENES", 1)
        patch.setattr(sweeps, "STOPPED_MS", (0, 20))
        patch.setattr(sweeps, "STOP_NOISE_HZ", (0.0,))
        for name, value in (("KS", (1, 16)), ("RATES", (0.25,)), ("NOISE_HZ", (5.0,)), ("PRESETS", {})):
            patch.setattr(sweeps, name, value)
        command = ["evaluate", str(tiny_set), "--weights", str(out / "small.safetensors"), "--every", "4"]
        command += ["--train-set", str(tiny_train_set), "--queries", "40", "--warm-up", "2", "--protocol", "hmnet"]
        command += ["--dense", *dense, "--sweeps", "--report", str(out / "page"), "--out", str(out / "out.json")]
        assert main(command) == 0
    return out


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "page/report.html").read_text())


def test_the_page_needs_no_network(folder, page):
    text = (folder / "page/report.html").read_text()
    assert not page.links and "<script" not in text and "url(" not in text and "@import" not in text
    assert len(page.sources) == 7, "two of accuracy and σ, two of latency, one of sweeps, one of each domain"
    for source in page.sources:
        kind, data = re.fullmatch(r"data:image/(png|svg\+xml);base64,(.*)", source).groups()
        data = base64.b64decode(data, validate=True)
        if kind == "png":
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape[1] > 1000 and picture.std() > 5
        else:
            assert data.lstrip().startswith(b"<?xml") and b"</svg>" in data


def test_every_section_is_there(page):
    wanted = ["Accuracy", "Published numbers", "Error against depth", "Uncertainty", "Latency"]
    assert page.headings == [*wanted, "What the decoder does", "Robustness", "With the camera's poses", "Pictures"]


def test_the_json_has_the_same_numbers(folder, page):
    result = json.loads((folder / "page/report.json").read_text())
    assert result == json.loads((folder / "out.json").read_text())
    plain = result["accuracy"]["uniform"]["pooled"]["small"]["plain"]
    for value in (plain["abs_rel"], plain["rmse_log"], plain["delta2"], result["latency"]["model"]["encode_ms"]):
        assert f"{value:,.3f}" in page.cells
    assert result["sweeps"]["event_rate"][-1]["share"] == 0.25 and "25.0%" in page.cells
    assert {"expected", "observed"} == set(result["uncertainty"]["uniform"]["small"]["pooled"]["calibration"])
    assert all(f"{row.day1[0]:.3f}" in page.cells for row in MVSEC if row.day1[0])
    assert all(set(row) <= set(page.cells) for row in ELSEWHERE)


def test_the_dense_baseline_stands_beside_the_model(folder):
    result = json.loads((folder / "out.json").read_text())
    assert result["dense"] == [str(folder / "f3.safetensors"), str(folder / "dav2")]
    for group in result["accuracy"]["uniform"].values():
        assert group["dense"]["plain"]["points"] == group["small"]["plain"]["points"] > 0
    assert result["latency"]["dense"]["trained"] is True


def test_classes_of_depth_hold_all_points_once(folder):
    result = json.loads((folder / "page/report.json").read_text())
    values = result["accuracy"]["uniform"]["pooled"]["small"]
    rows = values["by_true_depth"]
    assert sum(row["points"] for row in rows) == values["plain"]["points"]
    mean = sum(row["points"] * row["abs_rel"] for row in rows) / values["plain"]["points"]
    assert mean == pytest.approx(values["plain"]["abs_rel"])
    assert all(a["to_m"] <= b["from_m"] for a, b in pairwise(rows))


@pytest.fixture(scope="module")
def bare(tiny_set, folder):
    """An evaluation without anything besides."""
    settings = Settings(uniform=20, keypoints=0, every=9, warm_up=2)
    return evaluate_checkpoints(tiny_set, [folder / "small.safetensors"], settings=settings)


def test_what_was_not_measured_is_left_out(bare, tmp_path):
    page = Page(write_report(bare, tmp_path / "new/folder").read_text())
    assert "Latency" not in page.headings and "What the decoder does" not in page.headings
    assert "Not measured: run with --sweeps." in (tmp_path / "new/folder/report.html").read_text()


def test_on_mvsec_the_model_has_a_row_among_the_published(bare, tmp_path):
    scores = {"abs_rel": 0.123, "rmse": 4.567, "rmse_log": 0.234, "delta1": 0.891, "mean_error_below_20": 1.012}
    for protocol, row in (({"hmnet": {"small": scores}}, True), (None, False)):
        result = replace(bare.result, dataset="mvsec", set="mvsec/outdoor_day1", protocol=protocol)
        text = write_report(replace(bare, result=result), tmp_path).read_text()
        published = Page(text[text.index("<h2>Published") : text.index("<h2>Error")])
        if row:
            own = published.cells[: published.cells.index("E2Depth")]
            expected = ["small", "events", "hmnet, this evaluation", "0.123", "4.567", "0.234", "0.891", *["–"] * 4]
            assert own == [*expected, "–", "1.012", "–", "outdoor_day1"]
        else:
            assert published.cells[0] == "E2Depth" and "Run with --protocol hmnet" in text
        assert "simulated scenes; they say nothing" not in text


def test_of_one_scene_nothing_is_said_of_others(bare, tmp_path):
    """The spread of coverage over scenes is not known; the page says the coverage alone."""
    judged = bare.result.summary.judged
    values = bare.result.summary.uncertainty["uniform"][judged]["pooled"]
    alone = replace(values, coverage_error=dict.fromkeys(values.coverage))
    summary = replace(bare.result.summary, uncertainty={"uniform": {judged: {"pooled": alone}}})
    text = write_report(replace(bare, result=replace(bare.result, summary=summary)), tmp_path).read_text()
    assert f"<td>{values.coverage['68%']:.1%}</td>" in text


def test_names_cannot_break_the_page(bare, tmp_path):
    evil = replace(bare, result=replace(bare.result, set="<b>set & co", weights=['"><script>']))
    text = write_report(evil, tmp_path).read_text()
    Page(text)
    assert "<script" not in text and "&lt;b&gt;set &amp; co" in text


def test_a_window_without_events_is_a_picture_too():
    empty, one = random_window(64, 48, 0), np.ones(1)
    example = Example("empty", empty, np.array([[3.0, 4.0]]), 2 * one, one, 0.1 * one)
    assert png(draw_example(example)).startswith("data:image/png;base64,")


def test_published_rows_are_complete():
    for row in MVSEC:
        assert len(row.day1) == len(row.night1) == len(COLUMNS) and len(row.near_m) == 3
        for values in (row.day1, row.night1):
            assert values[3] is None or 0 < values[3] < 1
    for row in ELSEWHERE:
        assert len(row) == len(ELSEWHERE_COLUMNS) and "arXiv:" in row[-1] and all(row)
