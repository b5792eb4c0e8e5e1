"""The support filter in an intake: behind the hot pixels, ahead of cells and windows; a listener is told all."""

from dataclasses import replace

import numpy as np
import pytest
from intakes import CONFIG, Taken, all_of
from reference.slow_cells import slow_cells
from reference.slow_support import slow_support
from streams import HEIGHT, WIDTH, make_packets

from eventspd_ros.events.hot_pixels import HotPixelFilter
from eventspd_ros.model.config import PitchConfig

MS = 1_000_000


class Listener:
    """What was told, as rows (t_ns, x, y, p)."""

    def __init__(self, taken):
        self.rows = []
        taken.intake.listener = self

    def add(self, x, y, p, t_ns):
        self.rows += zip(*(column.tolist() for column in (t_ns, x, y, p)), strict=True)


@pytest.mark.parametrize("cell_px", [1, 2])
def test_windows_have_what_passes_hot_pixels_and_then_the_filter(cell_px):
    """A hot pixel supports none of those around it. Motion, which listens, is the better for all the others."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[::2, ::2] = True
    config = replace(CONFIG, pitch=PitchConfig(columns=WIDTH // cell_px))
    one = Taken(lambda height, width: HotPixelFilter(mask), config, support_filter_ms=2.0)
    listener, packets = Listener(one), make_packets(40)
    windows = one.take(packets)
    cold = [tuple(row) for row in all_of(packets).tolist() if row[1] % 2 or row[2] % 2]
    passed = slow_support(cold, 2 * MS)
    assert 0.2 * len(cold) < len(passed) < 0.8 * len(cold)
    assert listener.rows == cold and one.intake.support.events_removed == len(cold) - len(passed)
    seen = slow_cells(passed, cell_px)
    assert len(windows) > 10
    for window in windows:
        inside = [row for row in seen if window.start_ns <= row[0] < window.end_ns]
        assert list(zip(*(getattr(window, c).tolist() for c in ("t_ns", "x", "y", "p")), strict=True)) == inside


def test_windows_end_where_they_do_without_it():
    packets = make_packets(40)
    one, other = Taken(support_filter_ms=1.0), Taken()
    ends, expected = ([window.end_ns for window in taken.take(packets)] for taken in (one, other))
    assert ends == expected and other.intake.support is None and one.intake.support.events_removed > 0
    assert one.intake.newest_ns == other.intake.newest_ns


def test_another_sensor_has_its_own_filter_and_a_restart_keeps_what_was_counted():
    one, packets = Taken(support_filter_ms=1.0), make_packets(40)
    one.take(packets)
    first = one.intake.support
    removed = first.events_removed
    one.take(packets)
    assert one.causes == {"restart": 1} and one.intake.support is first and first.events_removed == 2 * removed
    one.take(make_packets(10, width=2 * WIDTH))
    assert one.causes["sensor"] == 1 and one.intake.support is not first
