"""`eventspd replay`, end to end and offline; and what is wrong with a bag, in one line."""

import csv
import json

import numpy as np
import pytest
from reference.rewritten_bags import POINT_CLOUD, STORE, rewrite, vins_cloud
from rosbags.rosbag2 import StoragePlugin, Writer

from eventspd_ros.cli import main
from eventspd_ros.evaluation.replay.topics import TopicNames, choose_topics
from eventspd_ros.evaluation.results import to_json
from eventspd_ros.evaluation.scoring.metrics import depth_metrics
from eventspd_ros.events.files.rosbag import open_bag
from eventspd_ros.events.messages import EVENT_PACKET
from eventspd_ros.simulation.bag import CAMERA_INFO_TOPIC, DEPTH_TOPIC, EVENTS_TOPIC, KEYPOINTS_TOPIC


def test_metrics_are_those_of_the_answers_it_writes(small_bag, fast_weights, tmp_path, capsys):
    out = [str(tmp_path / name) for name in ("r.json", "a.csv", "bag")]
    command = ["replay", str(small_bag), "--weights", str(fast_weights), "--queries", "30", "--protocol", "hmnet"]
    assert main([*command, "--out", *out]) == 0
    shown = capsys.readouterr().out
    for words in ("keypoints /keypoints", "accuracy, keypoints", "protocol hmnet", "of known depth"):
        assert words in shown
    result, rows = json.loads((tmp_path / "r.json").read_text()), list(csv.DictReader((tmp_path / "a.csv").open()))
    assert result["replay"]["points"] == len(rows)
    for kind in ("uniform", "keypoints"):
        known = [row for row in rows if row["kind"] == kind and row["status"] == "OK" and row["true_depth_m"]]
        depth, true = (np.array([row[name] for row in known], float) for name in ("depth_m", "true_depth_m"))
        values = result["accuracy"][kind]["pooled"]["minimal"]["plain"]
        assert values == pytest.approx(to_json(depth_metrics(depth, true)), rel=1e-5)
    assert result["protocol"]["hmnet"]["minimal"]["images"] > 5
    assert not list(tmp_path.glob("*.partial"))
    assert main([*command, "--out", out[2]]) == 2
    assert f"{out[2]}: exists already" in capsys.readouterr().err


def test_a_bag_that_was_cut_off_is_replayed_as_far_as_it_goes(small_bag, fast_weights, tmp_path, capsys):
    whole = next(small_bag.glob("*.mcap")).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) * 2 // 3])
    command = ["replay", str(tmp_path / "cut.mcap"), "--weights", str(fast_weights), "--json"]
    assert main(command) == 0
    shown = capsys.readouterr()
    warnings = [line for line in shown.err.splitlines() if "warning" in line]
    assert len(warnings) == 1 and "damaged or cut off" in warnings[0]
    assert 0 < json.loads(shown.out)["replay"]["requests"] and json.loads(shown.out)["replay"]["damage"]
    (tmp_path / "cut.mcap").write_bytes(whole[:100])
    assert main(command) == 2
    assert "nothing of it can be read" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("left_out", "arguments", "said"),
    [
        (
            [EVENTS_TOPIC],
            [],
            "no events (event_camera_msgs/msg/EventPacket or EventArray); its topics are /event",
        ),
        ([EVENTS_TOPIC], [], "/keypoints (eventspd_ros/msg/KeypointArray), /depth (sensor_msgs/msg/Image)"),
        ([], ["--depth", "/odometry"], "--depth /odometry: "),
        ([], ["--events", "/nothing"], "--events /nothing: "),
        ([], ["--keypoints", "/odometry"], "--keypoints /odometry: no eventspd_ros/msg/KeypointArray or PointCloud2"),
        ([], ["--keypoints-layout", "openvins"], "no sensor_msgs/msg/PointCloud for openvins; its topics are"),
        ([], ["--keypoints-layout", "orb"], "layout 'orb' is not known"),
        ([], ["--lidar", "/scan"], "--lidar /scan: give its --extrinsics too"),
        ([], ["--extrinsics", *"0 0 0 0 0 0 1".split()], "no sensor_msgs/msg/PointCloud2 with x, y, z; its topics are"),
        ([], ["--protocol", "f3"], "protocol 'f3': a replay gives depth, from no event of the future"),
        ([], ["--query-mode", "newest"], "'newest' is not a valid QueryMode"),
        ([], ["--fx", "-3"], "--fx -3.0: give the focal length in pixels"),
    ],
)
def test_what_does_not_fit_is_one_line(left_out, arguments, said, small_bag, fast_weights, tmp_path, capsys):
    bag = rewrite(small_bag, tmp_path / "bag", dict.fromkeys(left_out)) if left_out else small_bag
    assert main(["replay", str(bag), "--weights", str(fast_weights), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("eventspd replay: ") and said in error


def test_a_bag_without_calibration_says_how_to_give_it(small_bag, fast_weights, tmp_path, capsys):
    bag = rewrite(small_bag, tmp_path / "bag", dict.fromkeys((CAMERA_INFO_TOPIC, DEPTH_TOPIC)))
    assert main(["replay", str(bag), "--weights", str(fast_weights)]) == 0
    shown = capsys.readouterr()
    assert "warning: the bag has no camera_info: without a focal length no depth is metric; give --fx" in shown.err
    assert "UNCALIBRATED" in shown.out and "accuracy" not in shown.out


def test_point_clouds_are_keypoints_only_where_their_layout_is_named(small_bag, tmp_path):
    bag = rewrite(small_bag, tmp_path / "bag", {KEYPOINTS_TOPIC: (POINT_CLOUD, vins_cloud)})
    with open_bag(bag) as opened:
        assert choose_topics(opened, TopicNames()).keypoints is None
        with pytest.raises(ValueError, match="say which layout it has, --keypoints-layout vins_mono, vins_fusion"):
            choose_topics(opened, TopicNames(keypoints=KEYPOINTS_TOPIC))
        chosen = choose_topics(opened, TopicNames(layout="vins_mono"))
        assert (chosen.keypoints, chosen.depth, chosen.camera_info) == (KEYPOINTS_TOPIC, DEPTH_TOPIC, CAMERA_INFO_TOPIC)


def test_of_a_stereo_pair_what_lies_beside_the_events_is_taken(small_bag, tmp_path):
    roles = {EVENTS_TOPIC: "events", CAMERA_INFO_TOPIC: "info", KEYPOINTS_TOPIC: "points", DEPTH_TOPIC: "depth"}
    with open_bag(small_bag) as one, Writer(tmp_path / "two", version=9, storage_plugin=StoragePlugin.MCAP) as two:
        kinds = {c.topic: c.msgtype for c in one.connections}
        for topic, time_ns, data in {message[0]: message for message in one.messages(list(roles))}.values():
            for side in ("left", "right"):
                connection = two.add_connection(f"/{side}/{roles[topic]}", kinds[topic], typestore=STORE)
                two.write(connection, time_ns, data)
    with open_bag(tmp_path / "two") as opened:
        with pytest.raises(ValueError, match="2 topics could be --events; name one of /left/events, /right/events"):
            choose_topics(opened, TopicNames())
        chosen = choose_topics(opened, TopicNames(events="/right/events"))
    assert (chosen.camera_info, chosen.keypoints, chosen.depth) == ("/right/info", "/right/points", "/right/depth")


def test_packets_stamped_by_another_clock_are_said_once(small_bag, fast_weights, tmp_path, capsys):
    def unstamped(message):
        message.header.stamp.sec = message.header.stamp.nanosec = 0
        return message

    bag = rewrite(small_bag, tmp_path / "bag", {EVENTS_TOPIC: (EVENT_PACKET, unstamped)})
    assert main(["replay", str(bag), "--weights", str(fast_weights), "--queries", "5"]) == 0
    shown = capsys.readouterr()
    assert (
        shown.err.count("events and keypoints are of different clocks: events are stamped 0.000 s, keypoints 17") == 1
    )
    assert main(["replay", str(small_bag), "--weights", str(fast_weights), "--queries", "5"]) == 0
    assert "different clocks" not in capsys.readouterr().err
