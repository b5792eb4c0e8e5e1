"""The feed benchmark reports what it measured; how fast is not asserted."""

import json

import pytest
from reference import dataset_layouts as layouts

from eventspd_ros.benchmark.data import FeedLoad, Shuffled, bench_data


def test_the_report_is_complete_and_consistent(tmp_path):
    layouts.write_simulated(tmp_path)
    load = FeedLoad(batch=2, windows=2, queries=16, workers=2)
    report = bench_data(tmp_path, "minimal", seconds=0.1, repetitions=2, load=load)
    assert (report["bench"], report["preset"], report["workers"], report["batch"]) == ("data", "minimal", 2, 2)
    assert (report["sensor"], report["samples"], report["windows_per_sample"]) == ("40x32", 5, 2)
    for what in ("feed_batch", "training_step"):
        rate = report[f"{what.split('_')[0]}_windows_per_second"]
        assert rate == pytest.approx(4e3 / report[f"{what}_ms"]["median"], rel=0.05)
    rates = report["feed_windows_per_second"] / report["training_windows_per_second"]
    assert report["ratio"] == pytest.approx(rates, rel=0.05)
    cpu_ratio = report["training_cpu_ms_per_window"] / report["feed_cpu_ms_per_window"]
    assert report["cpu_ratio"] == pytest.approx(cpu_ratio, rel=0.05) and cpu_ratio > 0
    assert 100 < report["events_per_window"] < 900, "20 ms of 40,000 events a second, some dropped"
    assert report["machine"] and set(report["versions"]) == {"eventspd_ros", "python", "torch", "numpy", "h5py"}
    json.dumps(report)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="seconds 0"):
        bench_data(tmp_path, seconds=0)
    with pytest.raises(ValueError, match="no sequence of simulated found"):
        bench_data(tmp_path)
    layouts.write_simulated(tmp_path)
    with pytest.raises(ValueError, match="5 samples with 4 windows; a batch takes 50"):
        bench_data(tmp_path, load=FeedLoad(batch=50))
    with pytest.raises(ValueError, match="queries=0"):
        FeedLoad(queries=0)


def test_an_epoch_is_every_sample_once_in_an_order_of_its_own():
    keys = iter(Shuffled(20))
    first, second = ([next(keys) for _ in range(20)] for _ in range(2))
    assert sorted(first) == [(0, i) for i in range(20)] and sorted(second) == [(1, i) for i in range(20)]
    assert [i for _, i in first] != [i for _, i in second]
