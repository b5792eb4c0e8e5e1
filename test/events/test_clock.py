"""The sensor clock's filter: against drift, jitter, jumps, roll-overs and an hour of time."""

import numpy as np
import pytest

from eventspd_ros.events.clock import SensorClock
from eventspd_ros.events.codecs import make_decoder
from eventspd_ros.events.files import open_events

EPOCH_NS = 1_700_000_000_123_456_789
S = 1_000_000_000
MS = 1_000_000


def run(clock, host_ns, sensor_ns):
    """The errors of to_ros at every packet, ns."""
    errors = []
    for stamp, first in zip(host_ns, sensor_ns, strict=True):
        clock.update(stamp, first)
        errors.append(clock.to_ros(first) - stamp)
    return np.array(errors)


def test_the_first_packet_sets_the_offset_exactly():
    clock = SensorClock()
    assert clock.offset_ns is None
    clock.update(EPOCH_NS, 5)
    assert clock.offset_ns == EPOCH_NS - 5
    assert clock.to_ros(6) == EPOCH_NS + 1 and clock.to_sensor(EPOCH_NS + 1) == 6
    assert isinstance(clock.to_ros(np.int64(6)), int)
    times = np.array([[5, 6], [7, 2**40 + 1]])
    np.testing.assert_array_equal(clock.to_ros(times), times + (EPOCH_NS - 5))
    np.testing.assert_array_equal(clock.to_sensor(clock.to_ros(times)), times)
    assert clock.to_ros(times).dtype == np.int64


@pytest.mark.parametrize("drift", [50e-6, -50e-6])
def test_a_drifting_clock_is_followed_for_an_hour(drift):
    host = np.arange(0, 3600 * S, 4 * MS)
    sensor = np.rint(host * (1 + drift)).astype(np.int64)
    clock = SensorClock()
    errors = run(clock, (host + EPOCH_NS).tolist(), sensor.tolist())
    # A first-order filter lags by its time constant: 10 s of 50 ppm are 0.5 ms.
    assert np.abs(errors).max() < 510_000
    np.testing.assert_allclose(errors[-1], 10 * S * drift, rtol=0.01)
    assert clock.resets == 0


def test_jitter_is_averaged_away():
    rng = np.random.default_rng(0)
    host = np.arange(0, 60 * S, 4 * MS)
    stamps = host + EPOCH_NS + rng.normal(0, 2 * MS, len(host)).astype(np.int64)
    clock = SensorClock()
    offsets = []
    for stamp, first in zip(stamps.tolist(), host.tolist(), strict=True):
        clock.update(stamp, first)
        offsets.append(clock.offset_ns - EPOCH_NS)
    assert np.std(offsets[-5000:]) < 0.1 * MS
    assert abs(offsets[-1]) < 0.3 * MS
    assert clock.resets == 0


@pytest.mark.parametrize(
    "jump_ns, resets", [(15 * MS, 0), (25 * MS, 1), (-25 * MS, 1), (-16_777_216_000, 1), (5 * S, 1)]
)
def test_a_jump_starts_the_filter_anew_and_jitter_does_not(jump_ns, resets):
    clock = SensorClock()
    host = np.arange(0, 4 * S, 4 * MS)
    sensor = host + np.where(host >= 2 * S, jump_ns, 0)
    errors = run(clock, (host + EPOCH_NS).tolist(), sensor.tolist())
    assert clock.resets == resets
    if resets:
        assert np.abs(errors).max() == 0
    else:
        assert 0 < errors[-1] < jump_ns


def test_after_a_long_silence_drift_is_no_jump():
    clock = SensorClock()
    clock.update(EPOCH_NS, 0)
    clock.update(EPOCH_NS + 1000 * S, 1000 * S + 50 * MS)  # 50 ppm for 1000 s
    assert clock.resets == 0
    clock.update(EPOCH_NS + 1001 * S, 2001 * S)
    assert clock.resets == 1


def test_a_decoded_rollover_is_no_jump():
    decoder, clock = make_decoder("evt3", 640, 480), SensorClock()
    from reference.packets import evt3_words, packet

    for k in range(0, 60_000, 40):
        t_us = 1000 * k
        words = evt3_words((8, t_us >> 12 & 0xFFF), (6, t_us & 0xFFF), (0, 1), (2, 1))
        events = decoder.decode(packet(words, seq=k // 40))
        clock.update(EPOCH_NS + t_us * 1000, int(events.t_ns[0]))
    assert decoder.stats.rollovers == 3
    assert clock.resets == 0 and clock.offset_ns == EPOCH_NS


def test_reset_forgets_the_offset():
    clock = SensorClock()
    clock.update(EPOCH_NS, 0)
    clock.reset()
    for convert in (clock.to_ros, clock.to_sensor):
        with pytest.raises(ValueError, match="no packet has been seen yet"):
            convert(1)
    clock.update(EPOCH_NS + 3600 * S, 7)
    assert clock.offset_ns == EPOCH_NS + 3600 * S - 7 and clock.resets == 0


@pytest.mark.parametrize("bag", ["event_camera_py/test_events_1", "event_camera_codecs/libcaer_rollover"])
def test_a_recording_maps_close_to_its_stamps(data_dir, bag):
    source, clock = open_events(data_dir / bag), SensorClock()
    decoder = make_decoder(source.encoding, source.width, source.height)
    errors = []
    for packet in source.packets():
        first_ns = decoder.decode(packet).t_ns[0]
        clock.update(packet.stamp_ns, int(first_ns))
        errors.append(clock.to_ros(int(first_ns)) - packet.stamp_ns)
    assert np.abs(errors).max() < 15 * MS
    assert clock.resets == 0
