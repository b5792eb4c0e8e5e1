"""Events of cells by definition: for each cell a running sum. The oracle of events/pitch.py."""

from __future__ import annotations


def slow_cells(rows, n, top=0):
    """Rows (t_ns, x, y, p) of pixels, in order, to those of cells of n×n pixels, with `top` empty rows above."""
    sums, found = {}, []
    for t_ns, x, y, p in rows:
        cell = (x // n, y // n)
        sums[cell] = sums.get(cell, 0) + (1 if p else -1)
        if abs(sums[cell]) == n * n:
            found.append((t_ns, cell[0], cell[1] + top, p))
            sums[cell] = 0
    return found
