"""Windows by definition: for every k a mask over all events. The oracle of WindowSlicer."""

from __future__ import annotations


def slow_windows(t_ns, window_ns, stride_ns):
    """[(k, start_ns, end_ns, indices)] of the windows with events that have closed; t_ns: a list that never falls."""
    windows = []
    if not t_ns:
        return windows
    k = 1
    while (end_ns := t_ns[0] + round(k * stride_ns)) <= t_ns[-1]:
        start_ns = end_ns - window_ns
        indices = [i for i, t in enumerate(t_ns) if start_ns <= t < end_ns]
        if indices:
            windows.append((k, start_ns, end_ns, indices))
        k += 1
    return windows
