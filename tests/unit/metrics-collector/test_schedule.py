"""Snapshots are coalesced: the first at once, then one per interval, the longest due first."""

from metrics_collector.event_time import SECOND_US
from metrics_collector.schedule import LOAD_CHANGED_US, SNAPSHOTS_AT_ONCE, Schedule
from metrics_collector.window import WindowKey

NOW = 1_800_000_000 * SECOND_US
KEY = WindowKey("default", "support", "main")
MS = 1_000


def test_the_first_change_is_due_at_once_and_the_next_after_a_quarter_second() -> None:
    schedule = Schedule()
    schedule.changed(KEY)
    assert schedule.take(NOW) == [KEY]
    schedule.changed(KEY)
    schedule.changed(KEY)
    assert schedule.take(NOW + 249 * MS) == []
    assert schedule.take(NOW + 250 * MS) == [KEY]
    assert schedule.take(NOW + 9_999 * MS) == []


def test_a_mere_change_of_load_waits_longer_but_delays_nothing() -> None:
    schedule = Schedule()
    schedule.changed(KEY)
    schedule.take(NOW)
    schedule.changed(KEY, LOAD_CHANGED_US)
    assert schedule.take(NOW + 500 * MS) == []
    schedule.changed(KEY)
    assert schedule.take(NOW + 500 * MS) == [KEY]


def test_a_big_fleet_is_taken_in_portions_the_longest_due_first() -> None:
    schedule = Schedule()
    keys = [WindowKey("default", f"agent-{number:04}", "main") for number in range(SNAPSHOTS_AT_ONCE + 1)]
    for key in keys:
        schedule.changed(key)
    assert len(schedule.take(NOW)) == SNAPSHOTS_AT_ONCE
    assert schedule.take(NOW) == keys[-1:]


def test_a_window_that_is_gone_is_not_due() -> None:
    schedule = Schedule()
    schedule.changed(KEY)
    schedule.forget(KEY)
    assert schedule.take(NOW) == []
