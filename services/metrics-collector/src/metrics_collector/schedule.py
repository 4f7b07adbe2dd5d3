"""When the snapshot of a window is due: at once after a quiet time, and then at most one per interval."""

from metrics_collector.event_time import SECOND_US
from metrics_collector.window import WindowKey

CHANGED_US = SECOND_US // 4
"""Least time between two snapshots of a window."""
LOAD_CHANGED_US = SECOND_US
"""Least time when only the load, or only the passing of time, has changed the window: those change all the
time.
"""
SNAPSHOTS_AT_ONCE = 100
"""Snapshots taken in one go, so that a big fleet delays nothing else; the others are due as soon as these are
out.
"""


class Schedule:
    """Which windows changed since their last snapshot, and from when on the next one may be taken."""

    def __init__(self) -> None:
        self._due_us: dict[WindowKey, int] = {}
        self._taken_us: dict[WindowKey, int] = {}

    def changed(self, key: WindowKey, interval_us: int = CHANGED_US) -> None:
        """The window changed: its snapshot is due `interval_us` after the last one, or sooner if it was
        before.
        """
        due_us = self._taken_us.get(key, -interval_us) + interval_us
        self._due_us[key] = min(due_us, self._due_us.get(key, due_us))

    def take(self, now_us: int) -> list[WindowKey]:
        """The windows whose snapshot is due, at most 100, the longest due first; they count as taken now."""
        due = sorted((at_us, key) for key, at_us in self._due_us.items() if at_us <= now_us)[:SNAPSHOTS_AT_ONCE]
        for _, key in due:
            del self._due_us[key]
            self._taken_us[key] = now_us
        return [key for _, key in due]

    def forget(self, key: WindowKey) -> None:
        """The window is gone."""
        self._due_us.pop(key, None)
        self._taken_us.pop(key, None)
