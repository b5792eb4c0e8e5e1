"""What stands between two threads: a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class WorkQueue:
    """A bounded queue between two threads: a full one lets its oldest item go and counts it.

    is_work(item): whether it is such an item. Others, a tick or a nudge, go only where no work waits, and uncounted.
    """

    def __init__(self, max_items: int, is_work: Callable[[object], bool] = lambda item: True):
        self.max_items, self._is_work = max_items, is_work
        self.dropped = 0
        self._items: deque = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.idle = False  # empty, and its thread waits for more

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item) -> None:
        """Add an item; nothing happens once the queue is closed."""
        with self._changed:
            if self._closed:
                return
            if len(self._items) >= self.max_items:
                self._let_one_go()
            self._items.append(item)
            self.idle = False
            self._changed.notify()

    def _let_one_go(self) -> None:
        oldest = next((index for index, item in enumerate(self._items) if self._is_work(item)), None)
        self.dropped += oldest is not None
        del self._items[oldest or 0]

    def get(self):
        """The oldest item; waits for one. None once the queue is closed."""
        with self._changed:
            self.idle = not self._items
            self._changed.wait_for(lambda: self._items or self._closed)
            self.idle = False
            return self._items.popleft() if self._items else None

    def drop(self, unwanted: Callable[[object], bool]) -> None:
        """Let the unwanted items that wait go, and count them."""
        with self._changed:
            kept = deque(item for item in self._items if not unwanted(item))
            self.dropped += len(self._items) - len(kept)
            self._items = kept

    def close(self) -> None:
        """Let go of what waits and of the thread that waits for it."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
