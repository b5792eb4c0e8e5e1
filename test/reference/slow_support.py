"""Supported events by definition: a look at every event of the time before. The oracle of events/support.py."""

from __future__ import annotations

from itertools import takewhile


def slow_support(rows, within_ns):
    """Rows (t_ns, x, y, p), in order, less those with no earlier one, of at most within_ns before, in the eight pixels
    around theirs."""
    passed = []
    for i, row in enumerate(rows):
        before = takewhile(lambda earlier, t_ns=row[0]: t_ns - earlier[0] <= within_ns, reversed(rows[:i]))
        if any(max(abs(earlier[1] - row[1]), abs(earlier[2] - row[2])) == 1 for earlier in before):
            passed.append(row)
    return passed
