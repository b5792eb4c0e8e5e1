"""The page's words on latency; test_report.py has the page as the command writes it."""

from dataclasses import replace

import pytest

from eventspd_ros.benchmark.latency import Crossover, Latency, TimesByK
from eventspd_ros.benchmark.latency_page import latency_section

STAGES = {"encode": {"A1": 4.0, "rest": 1.0}, "decode 256": {"B1": 2.0}}
MODEL = TimesByK(
    name="<lite>",
    encode_ms=5.0,
    decode_ms={"1": 1.0, "64": 3.0},
    total_ms={"1": 6.0, "64": 8.25},
    repetitions=20,
    stages_ms=STAGES,
)
ALONE = Latency(
    sensor="64x50",
    events=1234,
    device="a CPU",
    torch_threads=2,
    peak_memory_bytes=0,
    machine="a machine",
    load_average=0.5,
    versions={"torch": "2.6"},
    model=MODEL,
    no_dense="No dense baseline: a & b",
)


def test_a_model_alone():
    text = latency_section(ALONE)
    assert "1,234 events. Medians of 20 runs." in text and "No dense baseline: a &amp; b" in text
    assert "&lt;lite&gt;" in text and "<td>8.250</td>" in text and text.count("<img") == 2


@pytest.mark.parametrize(
    ("crossing", "said"),
    [
        (Crossover(1600, True), "They meet at K* = 1,600 keypoints: 0.5 times the sensor"),
        (Crossover(6400, False), "K* = 6,400 keypoints, continuing the last two points: 2 times"),
        (Crossover(None, False), "The curves do not meet."),
        (Crossover(0, True), "The dense map is faster from the first keypoint on."),
    ],
)
def test_beside_a_dense_one(crossing, said):
    dense = replace(MODEL, name="dense", trained=False, repetitions=3, stages_ms=None)
    text = latency_section(replace(ALONE, dense=dense, crossover=crossing, no_dense=None))
    assert said in text and "weights are random" in text and "<td class=text>dense</td>" in text
