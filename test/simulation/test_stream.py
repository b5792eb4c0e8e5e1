"""The whole simulation: chunks, adaptive steps, physics end to end, and the recording."""

from itertools import pairwise

import numpy as np
import pytest

from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.types import EventPacket
from eventspd_ros.simulation import stream
from eventspd_ros.simulation.camera import PinholeCamera, handheld, straight
from eventspd_ros.simulation.event_sensor import IDEAL, EventSensorConfig
from eventspd_ros.simulation.renderer import Renderer
from eventspd_ros.simulation.scenes import PLAIN, Scene, panel
from eventspd_ros.simulation.stream import CHUNK_NS, Observation, SimulationConfig, World, simulate_stream

CAMERA = PinholeCamera.centred(120, 90)
COLUMNS = ("x", "y", "p", "t_ns")


def config(**changes):
    return SimulationConfig(**{"camera": CAMERA, "duration_s": 0.1, "seed": 2, **changes})


def all_events(chunks):
    return stream.concatenate([chunk.events for chunk in chunks])


@pytest.fixture(scope="module")
def recording():
    return list(stream.simulate_recording(config(duration_s=0.5, max_keypoints=60)))


def test_chunks_follow_each_other_and_hold_their_own_sorted_events():
    chunks = list(simulate_stream(config()))
    assert [chunk.start_ns for chunk in chunks] == [k * CHUNK_NS for k in range(25)]
    for chunk in chunks:
        assert chunk.end_ns == chunk.start_ns + CHUNK_NS
        assert (np.diff(chunk.events.t_ns) >= 0).all()
        assert chunk.events.t_ns[0] >= chunk.start_ns
        assert chunk.events.t_ns[-1] < chunk.end_ns
        assert chunk.events.x.max() < 120
        assert chunk.events.y.max() < 90
    assert abs(all_events(chunks).p.mean() - 0.5) < 0.1


def test_one_seed_decides_everything_whatever_the_number_of_threads(monkeypatch):
    one = all_events(simulate_stream(config()))
    monkeypatch.setattr(stream, "cores", lambda: 1)
    two = all_events(simulate_stream(config()))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert len(all_events(simulate_stream(config(seed=3)))) != len(one)


def test_nothing_moves_more_than_a_pixel_between_views():
    world = World.from_seed(2)
    fast = World(world.scene, handheld(np.random.default_rng(0), sway_m=3.0, tilt_rad=1.0))
    renderer, most, counts = Renderer(world.scene, CAMERA), 0.0, []
    for start_ns in range(0, 120 * CHUNK_NS, 4 * CHUNK_NS):
        views = stream.views_of_chunk(renderer, fast, start_ns)
        times = [start_ns, *(t_ns for t_ns, _ in views)]
        assert times == sorted(set(times))
        assert times[-1] == start_ns + CHUNK_NS
        assert all(t_ns % 1000 == 0 for t_ns in times)
        counts.append(len(views))
        for before, after in pairwise(times):
            frame = renderer.render(fast.pose(before))
            most = max(most, renderer.largest_shift_px(frame, fast.pose(after)))
    assert 0.5 < most <= 1.0
    assert max(counts) > 2


@pytest.mark.parametrize(("ratio", "events_a_pixel"), [(2.0, 3), (4.0, 6), (10.0, 11)])
def test_a_moving_edge_makes_ln_contrast_over_threshold_events_in_every_pixel_it_passes(ratio, events_a_pixel):
    """ln 2 / 0.2 = 3.47, ln 4 / 0.2 = 6.93, ln 10 / 0.2 = 11.51: that many whole crossings, all of one polarity."""
    bright = panel((-5.0, 0, 2.0), (10, 20), gain=0.08 * ratio)
    dark = panel((5.0, 0, 2.0), (10, 20), gain=0.08)
    # 0.6 m/s to the left at 2 m and f = 90 px: the edge runs 27 px/s to the right, from column 59.5 to 62.2 in 0.1 s.
    world = World(Scene((bright, dark), PLAIN), straight((-0.6, 0, 0)))
    events = all_events(simulate_stream(config(duration_s=0.3, sensor=IDEAL), world))
    assert (events.p == 1).all()
    count = np.zeros((90, 120), int)
    np.add.at(count, (events.y, events.x), 1)
    np.testing.assert_array_equal(count[:, 61:67], events_a_pixel)
    assert count[:, :59].sum() == count[:, 70:].sum() == 0
    for column in range(61, 67):  # the edge enters pixel u at u − 0.5 and leaves it at u + 0.5
        times_s = events.t_ns[events.x == column] / 1e9
        enters_s, leaves_s = (column - 0.5 - 59.5) / 27, (column + 0.5 - 59.5) / 27
        assert times_s.min() > enters_s - 0.012  # a quarter pixel, the grain of the rim's sub-pixels, and a step
        assert times_s.max() < leaves_s + 0.012


def test_events_come_to_a_focus_when_warped_by_the_true_flow():
    """Contrast maximisation (Gallego et al. 2018, arXiv:1804.01306): the sharpest image is at the ground truth."""
    settings = config(camera=PinholeCamera.centred(160, 120), duration_s=0.12, sensor=IDEAL)
    scene = World.from_seed(settings.seed).scene
    world = World(scene, straight((-0.8, 0.3, 0.2)))
    renderer, target = Renderer(scene, settings.camera), world.pose(60_000_000)
    uv, flow = [], []
    for chunk in simulate_stream(settings, world):
        pixels = np.stack([chunk.events.x, chunk.events.y], 1).astype(np.float64)
        points_W = renderer.points_at(world.pose(chunk.start_ns + CHUNK_NS // 2), pixels)
        uv.append(pixels)
        flow.append(settings.camera.project(target.to_camera(points_W)) - pixels)
    uv, flow = np.concatenate(uv), np.concatenate(flow)
    sharpness = {}
    for share in (-1.0, 0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0):
        column, row = np.rint(uv + share * flow).astype(int).T
        inside = (column >= 5) & (column < 155) & (row >= 5) & (row < 115)
        image = np.zeros((120, 160))
        np.add.at(image, (row[inside], column[inside]), 1.0)
        sharpness[share] = image[5:115, 5:155].var() / inside.mean() ** 2
    assert max(sharpness, key=sharpness.get) == 1.0, sharpness
    assert sharpness[1.0] > 1.5 * sharpness[0.0]


def test_packets_decode_to_the_stream_and_arrive_when_they_are_full(recording):
    settings = config(duration_s=0.5, max_keypoints=60)
    packets = [item for item in recording if isinstance(item.message, EventPacket)]
    decoder = make_decoder("evt3", 120, 90)
    decoded = stream.concatenate([decoder.decode(item.message) for item in packets])
    expected = all_events(simulate_stream(settings))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(decoded, name), getattr(expected, name))
    assert [item.message.seq for item in packets] == list(range(len(packets)))
    for k, item in enumerate(packets):
        assert item.arrival_ns == settings.start_ns + (k + 1) * CHUNK_NS
        assert 0 <= item.message.stamp_ns - (item.arrival_ns - CHUNK_NS) < CHUNK_NS


def test_observations_come_at_thirty_hertz_with_exact_depth(recording):
    settings = config(duration_s=0.5, max_keypoints=60)
    world = World.from_seed(settings.seed)
    renderer = Renderer(world.scene, CAMERA)
    observations = [item.message for item in recording if isinstance(item.message, Observation)]
    times_ns = np.array([item.stamp_ns for item in observations]) - settings.start_ns
    np.testing.assert_array_equal(times_ns, np.rint(np.arange(1, 16) * 1e9 / 30))
    arrivals = [item.arrival_ns for item in recording]
    assert arrivals == sorted(arrivals)
    for item, t_ns in zip(observations, times_ns.tolist(), strict=True):
        np.testing.assert_array_equal(item.depth_m, renderer.depth_m(world.pose(t_ns)))
        assert item.depth_m.dtype == np.float32
        assert 10 < len(item.keypoints.ids) <= 60


def test_a_silent_scene_sends_no_packets_but_is_still_observed():
    world = World(Scene((panel((0, 0, 3.0), (99, 99)),), PLAIN), straight((0.5, 0, 0)))
    messages = [item.message for item in stream.simulate_recording(config(), world)]
    observations = [message for message in messages if isinstance(message, Observation)]
    assert len(observations) == 3
    assert not any(len(message.keypoints.ids) for message in observations)
    assert not any(isinstance(message, EventPacket) for message in messages)


def test_a_caller_may_stop_early():
    chunks = simulate_stream(config(duration_s=100.0))
    next(chunks)
    chunks.close()


def test_configurations_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"duration_s 0\.001"):
        config(duration_s=0.001)
    with pytest.raises(ValueError, match="duration_s nan"):
        config(duration_s=float("nan"))
    with pytest.raises(ValueError, match="keypoint_hz 0"):
        config(keypoint_hz=0)
    assert config(duration_s=3.0, sensor=EventSensorConfig()).chunks == 750
