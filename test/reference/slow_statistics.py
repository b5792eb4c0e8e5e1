"""Statistics of events by definition, each event against all others. The oracle of events/statistics.py."""

from __future__ import annotations

from itertools import pairwise

MS = 1_000_000


def slow_statistics(rows, height, width):
    """Rows (t_ns, x, y, p) in order of arrival → the keys of EventStatistics.summary(); the percentile is exact."""
    streams = _streams(rows)
    runs = [run for stream in streams for run in _runs(stream)]
    gaps_ns = sorted(gap for stream in streams for pixel in _pixels(stream) for gap in _gaps(pixel))
    windows = [window for stream in streams for window in _windows(stream)]
    active = [len({(x, y) for _, x, y, _ in window}) for window in windows]
    duration_ns = sum(stream[-1][0] - stream[0][0] for stream in streams)
    isolated = sum(_isolated(stream, k) for stream in streams for k in range(len(stream)))
    supported = sum(_supported(stream, k) for stream in streams for k in range(len(stream)))
    return {
        "events_per_pixel": _ratio(len(rows) * 20 * MS, duration_ns * height * width),
        "active_share": _ratio(sum(active), len(windows) * height * width),
        "events_per_active_pixel": _ratio(sum(map(len, windows)), sum(active)),
        # The smallest that at least one in a hundred does not exceed.
        "gap_p01_ms": gaps_ns[(len(gaps_ns) - 1) // 100] / MS if gaps_ns else None,
        "run_length": _ratio(sum(map(len, runs)), len(runs)),
        "run_length_of_event": _ratio(sum(len(run) for run in runs for _ in run), len(rows)),
        "isolated_share": _ratio(isolated, len(rows)),
        "supported_share": _ratio(supported, len(rows)),
    }


def _ratio(part, whole):
    return part / whole if whole else None


def _streams(rows):
    """Cut where time falls by more than 100 ms; times that fall by less are raised to the newest."""
    streams = []
    for t_ns, x, y, p in rows:
        if not streams or t_ns < streams[-1][-1][0] - 100 * MS:
            streams.append([])
        else:
            t_ns = max(t_ns, streams[-1][-1][0])
        streams[-1].append((t_ns, x, y, p))
    return streams


def _pixels(stream):
    """The events of each pixel."""
    return [[row for row in stream if row[1:3] == at] for at in sorted({row[1:3] for row in stream})]


def _gaps(pixel):
    return [after[0] - before[0] for before, after in pairwise(pixel)]


def _runs(stream):
    runs = []
    for pixel in _pixels(stream):
        for before, row in pairwise([None, *pixel]):
            if before is not None and before[3] == row[3] and row[0] - before[0] < 10 * MS:
                runs[-1].append(row)
            else:
                runs.append([row])
    return runs


def _windows(stream):
    """The events of each whole 20 ms from the first event on."""
    first_ns, last_ns = stream[0][0], stream[-1][0]
    starts = range(first_ns, last_ns - 20 * MS + 1, 20 * MS)
    return [[row for row in stream if start <= row[0] < start + 20 * MS] for start in starts]


def _around(a, b):
    return abs(a[1] - b[1]) <= 1 and abs(a[2] - b[2]) <= 1


def _isolated(stream, k):
    others = stream[:k] + stream[k + 1 :]
    return not any(_around(stream[k], row) and abs(stream[k][0] - row[0]) <= 10 * MS for row in others)


def _supported(stream, k):
    others = [row for row in stream[:k] if row[1:3] != stream[k][1:3]]
    return any(_around(stream[k], row) and stream[k][0] - row[0] <= 10 * MS for row in others)
