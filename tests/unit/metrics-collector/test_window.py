"""A window holds the newest samples within its age, whatever the order they came in."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector.event_time import SECOND_US
from metrics_collector.samples import Finished, Kind, Series
from metrics_collector.window import Beat, Limits, Timing, Window
from thymos.telemetry import Outcome

NOW = 1_800_000_000 * SECOND_US


def outcome(seconds_ago: float, key: str = "t") -> Finished:
    return Finished(NOW - round(seconds_ago * SECOND_US), key, Outcome.SUCCEEDED)


def test_a_series_keeps_the_newest_and_says_what_left() -> None:
    series: Series[Finished] = Series(2)
    assert series.add(outcome(30, "a")) == []
    assert series.add(outcome(10, "b")) == []
    assert series.add(outcome(20, "c")) == [outcome(30, "a")]
    assert [sample.key for sample in series] == ["c", "b"]
    assert series.add(outcome(40, "d")) is None
    assert series.add(outcome(5, "b")) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), max_size=60), st.integers(1, 10), st.integers())
def test_a_series_does_not_remember_the_order_of_arrival(
    arrivals: list[tuple[int, int]], count_max: int, seed: int
) -> None:
    # One time per key: a key that comes twice is a duplicate, and the store has refused it before.
    times = {f"t{key}": ago for ago, key in arrivals}
    in_order, shuffled = Series[Finished](count_max), Series[Finished](count_max)
    samples = [outcome(ago, key) for key, ago in times.items()]
    for sample in samples:
        in_order.add(sample)
    Random(seed).shuffle(samples)
    for sample in samples:
        shuffled.add(sample)
    assert list(in_order) == list(shuffled)
    assert list(in_order) == sorted(samples, key=lambda s: (s.at_us, s.key))[-count_max:]


@given(st.permutations([outcome(ago, f"t{ago}") for ago in range(0, 290, 10)]))
def test_within_the_lateness_bound_nothing_is_late_in_any_order(samples: list[Finished]) -> None:
    window = Window(Limits())
    assert all(window.add(Kind.OUTCOME, sample, NOW).added for sample in samples)
    assert [sample.key for sample in window.outcomes] == [f"t{ago}" for ago in range(280, -1, -10)]


def test_an_outcome_far_behind_the_newest_is_late_and_counted_as_such() -> None:
    window = Window(Limits())
    window.add(Kind.OUTCOME, outcome(0, "new"), NOW)
    assert window.add(Kind.OUTCOME, outcome(301, "old"), NOW).timing is Timing.LATE
    assert (window.late, len(window.outcomes)) == (1, 1)


def test_an_outcome_from_far_in_the_future_is_kept_out() -> None:
    window = Window(Limits())
    assert window.add(Kind.OUTCOME, outcome(-301, "future"), NOW).timing is Timing.EARLY
    assert (window.late, len(window.outcomes)) == (1, 0)


def test_one_fast_clock_makes_nobody_late() -> None:
    window = Window(Limits())
    window.add(Kind.OUTCOME, outcome(-299, "fast"), NOW)
    assert window.add(Kind.OUTCOME, outcome(10, "right"), NOW).timing is Timing.IN_WINDOW


def test_a_backlog_is_past_but_not_late() -> None:
    window = Window(Limits())
    timings = [window.add(Kind.OUTCOME, outcome(3_600 - i, f"t{i}"), NOW).timing for i in range(5)]
    assert timings == [Timing.PAST] * 5
    assert (window.late, len(window.outcomes)) == (0, 0)


def test_time_passing_empties_a_window() -> None:
    window = Window(Limits())
    for ago in (200, 100, 0):
        window.add(Kind.OUTCOME, outcome(ago, f"t{ago}"), NOW)
    gone = window.expire(NOW + 150 * SECOND_US)
    assert [sample.key for _, sample in gone] == ["t200"]
    assert len(window.outcomes) == 2


def test_a_task_is_in_progress_until_it_ends() -> None:
    window = Window(Limits())
    window.begin("a", NOW)
    window.begin("b", NOW)
    assert window.in_progress == 2
    assert window.end("a")
    assert not window.end("a")
    assert window.in_progress == 1


def test_a_start_that_arrives_after_its_end_leaves_nothing_behind() -> None:
    window = Window(Limits())
    window.add(Kind.ANSWER, outcome(0, "a"), NOW)
    assert window.begin("a", NOW) is None
    assert window.in_progress == 0


def test_tasks_that_never_end_are_forgotten() -> None:
    window = Window(Limits(in_progress_max=2))
    window.begin("a", NOW)
    window.begin("b", NOW + SECOND_US)
    assert window.begin("c", NOW + 2 * SECOND_US) == ["a"]
    assert window.forget_begun(NOW + 3_601 * SECOND_US) == ["b"]
    assert window.in_progress == 1


def test_load_sums_over_worktrees_that_were_heard_of_lately() -> None:
    window = Window(Limits())
    assert window.load(NOW) is None
    window.beat("w1", Beat(NOW, 3, 4), NOW)
    window.beat("w2", Beat(NOW - 2 * SECOND_US, 0, 2), NOW)
    assert window.load(NOW) == 0.5
    assert window.load(NOW + 4 * SECOND_US) == 0.75
    assert window.load(NOW + 6 * SECOND_US) is None


def test_an_older_heartbeat_does_not_undo_a_newer_one() -> None:
    window = Window(Limits())
    window.beat("w1", Beat(NOW, 1, 1), NOW)
    assert not window.beat("w1", Beat(NOW - SECOND_US, 0, 1), NOW)
    assert window.load(NOW) == 1.0


def test_a_worktree_without_capacity_is_no_load() -> None:
    window = Window(Limits())
    window.beat("draining", Beat(NOW, 0, 0), NOW)
    assert window.load(NOW) is None


def test_a_sample_of_the_wrong_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="no sample of kind RESPONSE"):
        Window(Limits()).add(Kind.RESPONSE, outcome(0), NOW)
