"""Scaling: the exact cases of the design, published examples of other autoscalers, and properties that
always hold.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worktree_scaler.scaling import (
    Direction,
    Override,
    ScalingAction,
    ScalingHistory,
    ScalingPolicy,
    ScalingSignal,
    decide,
    evolve,
    recommend,
    reserve,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "scaling.json").read_text())
NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
POLICY = ScalingPolicy()


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def signal(current: int, lag: int | None, in_flight: int | None = None, capacity: int | None = None) -> ScalingSignal:
    """A fleet whose tasks are light unless told otherwise, so that lag alone speaks."""
    if lag is None:
        return ScalingSignal(current, None, None, in_flight, capacity)
    capacity = 10 * current if capacity is None else capacity
    in_flight = current // 2 if in_flight is None else in_flight
    return ScalingSignal(current, lag, 0, in_flight, capacity)


def watched(*recommendations: tuple[float, int], last_down: float | None = None) -> ScalingHistory:
    """A history of (seconds, recommended) watched for a long time."""
    return ScalingHistory(
        recommendations=tuple((after(at), count) for at, count in recommendations),
        watched_since=after(-10_000),
        last_down_at=None if last_down is None else after(last_down),
    )


class Fleet:
    """Decides, obeys at once and remembers: the loop around the pure functions, with a clock the test
    turns.
    """

    def __init__(self, policy: ScalingPolicy, current: int) -> None:
        self.policy, self.current, self.history, self.now = policy, current, ScalingHistory(), NOW

    def look(self, lag: int | None, *, at: float, busy: Fraction = Fraction(1, 20)) -> ScalingAction:
        self.now = after(at)
        seen = signal(self.current, lag, int(busy * 10 * self.current), 10 * self.current)
        action = decide(self.history, seen, self.policy, self.now)
        self.history = evolve(self.history, seen, self.policy, action, self.now)
        self.current = action.count
        return action


# --- the design's exact cases -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["recommend"])
def test_recommends_what_the_vectors_say(case: dict[str, Any]) -> None:
    policy = ScalingPolicy(min_worktrees=case["min"], max_worktrees=case["max"], target_lag=case["target_lag"])
    seen = ScalingSignal(
        current=case["current"],
        pending=case["pending"],
        ack_pending=case["ack_pending"],
        in_flight=case["in_flight"],
        capacity=case["capacity_ready_and_starting"],
    )

    assert recommend(seen, policy) == case["recommended"]


@pytest.mark.parametrize("case", VECTORS["up_after_down"])
def test_goes_up_after_a_step_down_only_on_plain_lag(case: dict[str, Any]) -> None:
    since = case["seconds_since_last_down"]
    policy = ScalingPolicy(
        max_worktrees=100,
        target_lag=case["target_lag"],
        scale_down_window=timedelta(seconds=case["window"]),
    )
    seen = signal(case["current"], case["lag"])

    action = decide(watched(last_down=None if since is None else -since), seen, policy, NOW)

    assert action.recommended == case["recommended"]
    assert (action.direction is Direction.UP) == case["steps_up"]


# --- other autoscalers' published examples ------------------------------------------------------------------


def ratio_policy(target: Fraction) -> ScalingPolicy:
    """The Kubernetes setting: one ratio metric and no dead band to speak of."""
    return ScalingPolicy(
        max_worktrees=100,
        target_load=target,
        scale_down_threshold=target,
        scale_up_threshold=target,
        target_lag=1000,
    )


@pytest.mark.parametrize(("busy", "replicas", "expected"), [(2, 3, 6), (1, 4, 4), (Fraction(1, 2), 4, 2)])
def test_kubernetes_doubles_at_200m_of_100m_and_halves_at_50m(busy: Fraction, replicas: int, expected: int) -> None:
    """Load there may exceed 1 (it is milli-cores of a request); the arithmetic is the same."""
    target = Fraction(1, 10)
    seen = ScalingSignal(replicas, 0, 0, int(busy * target * 100 * replicas), 100 * replicas)

    assert recommend(seen, ratio_policy(target)) == expected


def test_kubernetes_41st_task_on_ten_by_four_workers_is_not_swallowed() -> None:
    """A 10 % tolerance would hide it (kubernetes issue 116984); our lag term has no tolerance."""
    assert recommend(ScalingSignal(10, 1, 40, 40, 40), ScalingPolicy(max_worktrees=40, target_lag=4)) == 13
    assert recommend(signal(10, 41), ScalingPolicy(max_worktrees=40, target_lag=4)) == 11


def test_kubernetes_upscale_example_differs_by_our_fixed_rate() -> None:
    """The HPA goes 3 -> 24 under a policy of 700 %; our rate is fixed at max(4, 100 %) per period, so it
    takes two.
    """
    fleet = Fleet(ScalingPolicy(max_worktrees=24), current=3)

    assert [fleet.look(240, at=at).count for at in (0, 5, 15, 30)] == [7, 7, 14, 24]


def test_kubernetes_downscale_example_differs_by_having_no_rate() -> None:
    """The HPA steps 80, 72, 64 under a policy of 10 %; here the window's maximum is the only brake on the
    way down.
    """
    fleet = Fleet(ScalingPolicy(max_worktrees=100), current=80)
    fleet.look(800, at=0)

    assert [fleet.look(100, at=at).count for at in (1, 299, 301)] == [80, 80, 10]


@pytest.mark.parametrize(("window", "expected"), [((5, 7, 3, 4, 5, 6, 7, 8), 7), ((3, 1, 2, 3, 4, 5, 6, 8), 3)])
def test_kubernetes_stabilisation_takes_the_windows_maximum(window: tuple[int, ...], expected: int) -> None:
    """Documented there as the highest of the recommendations in the window, never above what runs now."""
    history = watched(*((-200 + at, count) for at, count in enumerate(window[:2])))

    assert decide(history, signal(8, 10), POLICY, NOW).count == max(window[:2]) == expected


@pytest.mark.parametrize(("lag", "expected"), [(1, 1), (10, 1), (11, 2), (42, 5), (5_000, 100)])
def test_keda_asks_for_one_replica_per_ten_messages(lag: int, expected: int) -> None:
    """KEDA's JetStream scaler: num_pending + num_ack_pending over a lagThreshold of 10. (Its job scaler has
    no analogue.)
    """
    assert recommend(signal(1, lag), ScalingPolicy(max_worktrees=100)) == expected


@pytest.mark.parametrize(("value", "target", "count", "expected"), [(26, 13, 2, 4), (20, 10, 2, 4)])
def test_nomad_target_value_doubles_two(value: int, target: int, count: int, expected: int) -> None:
    policy = ratio_policy(Fraction(target, 100))

    assert recommend(ScalingSignal(count, 0, 0, value * count, 100 * count), policy) == expected


def test_nomad_from_zero_counts_what_waits() -> None:
    """Nomad: 20 of 10 at count 0 gives 2. Without capacity there is no load, so lag alone speaks."""
    assert recommend(ScalingSignal(0, 20, 0, 0, 0), ScalingPolicy(min_worktrees=0)) == 2


# --- missing metrics, limits, flags -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "blind",
    [ScalingSignal(4, None, 0, 4, 4), ScalingSignal(4, 0, None, 4, 4), ScalingSignal(4, 99, 99, None, 4)],
)
def test_missing_metrics_hold_the_count(blind: ScalingSignal) -> None:
    """The HPA lets a known metric scale up alone; here any missing one holds (a missing consumer drove KEDA
    to its maximum).
    """
    action = decide(watched(), blind, POLICY, NOW)

    assert (action.count, action.direction, action.recommended) == (4, Direction.HOLD, None)
    assert "missing" in action.reason


def test_a_fleet_below_its_minimum_is_filled_without_metrics() -> None:
    assert decide(ScalingHistory(), ScalingSignal(0, None, None, None, None), POLICY, NOW).count == 1


def test_an_outage_of_a_whole_window_starts_the_watch_anew() -> None:
    fleet = Fleet(POLICY, current=8)
    fleet.look(80, at=0)
    for at in range(10, 400, 10):
        assert fleet.look(None, at=at).count == 8

    assert [fleet.look(10, at=at).count for at in (400, 550, 699)] == [8, 8, 8]
    assert fleet.look(10, at=700).count == 1


def test_reserved_worktrees_lower_the_maximum_but_never_the_minimum() -> None:
    crowded = replace(signal(2, 500), reserved=4)

    assert recommend(crowded, POLICY) == 6
    assert recommend(replace(crowded, reserved=10), POLICY) == 1


def test_a_fleet_above_a_lowered_maximum_shrinks_at_once() -> None:
    action = decide(ScalingHistory(), signal(8, 80), ScalingPolicy(max_worktrees=5), NOW)

    assert (action.count, action.direction) == (5, Direction.DOWN)


def test_a_paused_fleet_holds_and_says_what_it_would_do() -> None:
    up = decide(watched(), signal(2, 50), ScalingPolicy(paused_up=True), NOW)
    down = decide(watched((-1, 1)), signal(5, 5), ScalingPolicy(paused_down=True), NOW)

    assert (up.count, up.reason.split(";")[0]) == (2, "paused: would go up to 5")
    assert (down.count, down.reason.split(";")[0]) == (5, "paused: would go down to 1")


def test_pausing_one_direction_leaves_the_other() -> None:
    assert decide(watched((-1, 1)), signal(5, 5), ScalingPolicy(paused_up=True), NOW).count == 1
    assert decide(watched(), signal(2, 50), ScalingPolicy(paused_down=True), NOW).count == 5


def test_dry_run_never_acts() -> None:
    action = decide(watched(), signal(2, 50), ScalingPolicy(dry_run=True), NOW)

    assert (action.count, action.direction, action.recommended) == (2, Direction.HOLD, 5)
    assert action.reason.startswith("dry run: would go up to 5")


def test_an_override_holds_until_it_expires_and_is_then_forgotten() -> None:
    fleet = Fleet(POLICY, current=1)
    fleet.history = replace(fleet.history, override=Override(6, after(60), "a campaign starts"))

    assert fleet.look(0, at=0).count == 6
    assert "a campaign starts" in fleet.look(90, at=30).reason
    fleet.look(60, at=61)
    assert fleet.history.override is None


def test_an_override_stays_inside_the_limits() -> None:
    history = ScalingHistory(override=Override(50, after(60), "typo"))

    assert decide(history, signal(1, 0), POLICY, NOW).count == 10


# --- to zero ------------------------------------------------------------------------------------------------


def test_to_zero_only_where_allowed_after_the_idle_period_and_from_one() -> None:
    fleet = Fleet(ScalingPolicy(min_worktrees=0, idle_period=timedelta(seconds=400)), current=3)
    counts = [fleet.look(0, at=at, busy=Fraction(0)).count for at in (0, 299, 300, 399, 400)]

    assert counts == [3, 3, 1, 1, 0]
    assert fleet.look(1, at=401).count == 1, "one waiting task wakes the fleet, also right after the step down"


def test_a_minimum_of_one_never_goes_to_zero() -> None:
    fleet = Fleet(POLICY, current=1)

    assert {fleet.look(0, at=at, busy=Fraction(0)).count for at in range(0, 3000, 100)} == {1}


# --- reservations -------------------------------------------------------------------------------------------


def test_arms_are_reserved_together_or_not_at_all() -> None:
    assert reserve(4, signal(6, 0), POLICY).granted
    refused = reserve(5, signal(6, 0), POLICY)

    assert not refused.granted
    assert refused.reason == "5 arms need 5 worktrees, but max_worktrees = 10 leaves room for 4 (6 on main, 0 reserved)"


def test_a_reservation_leaves_mains_minimum_and_other_experiments_alone() -> None:
    assert not reserve(7, replace(signal(0, 0), reserved=3), POLICY).granted
    assert reserve(6, replace(signal(0, 0), reserved=3), POLICY).granted


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_worktrees": 5, "max_worktrees": 4},
        {"target_lag": 0},
        {"scale_down_threshold": Fraction(99, 100)},
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        ScalingPolicy(**wrong)


# --- properties ---------------------------------------------------------------------------------------------

signals = st.builds(
    ScalingSignal,
    current=st.integers(0, 30),
    pending=st.none() | st.integers(0, 500),
    ack_pending=st.none() | st.integers(0, 100),
    in_flight=st.none() | st.integers(0, 60),
    capacity=st.none() | st.integers(0, 60),
    reserved=st.integers(0, 12),
)
policies = st.builds(
    ScalingPolicy,
    min_worktrees=st.integers(0, 3),
    max_worktrees=st.integers(3, 20),
    target_lag=st.integers(1, 20),
    dry_run=st.booleans(),
)
histories = st.builds(
    ScalingHistory,
    recommendations=st.lists(st.tuples(st.integers(-400, 0).map(after), st.integers(0, 20)), max_size=4).map(tuple),
    watched_since=st.none() | st.integers(-600, 0).map(after),
    steps=st.lists(st.tuples(st.integers(-20, 0).map(after), st.integers(-5, 8)), max_size=4).map(tuple),
    last_down_at=st.none() | st.integers(-600, 0).map(after),
    idle_since=st.none() | st.integers(-600, 0).map(after),
)


def test_a_fleet_that_experiments_leave_no_room_for_shrinks_to_nothing_at_once() -> None:
    seen = ScalingSignal(current=2, pending=0, ack_pending=0, in_flight=0, capacity=0, reserved=3)
    action = decide(ScalingHistory(), seen, ScalingPolicy(min_worktrees=0, max_worktrees=3), NOW)

    assert (action.direction, action.count) == (Direction.DOWN, 0)


@given(histories, signals, policies)
def test_every_decision_is_inside_the_limits_and_consistent(
    history: ScalingHistory, seen: ScalingSignal, policy: ScalingPolicy
) -> None:
    action = decide(history, seen, policy, NOW)
    high = max(policy.min_worktrees, policy.max_worktrees - seen.reserved)
    moves = {Direction.UP: action.count > seen.current, Direction.DOWN: action.count < seen.current}

    assert moves.get(action.direction, action.count == seen.current)
    assert action.direction is Direction.HOLD or policy.min_worktrees <= action.count <= high
    assert action.reason


@given(histories, signals, policies)
def test_growth_is_bounded_within_a_period(history: ScalingHistory, seen: ScalingSignal, policy: ScalingPolicy) -> None:
    grown = sum(added for at, added in history.steps if NOW - at < policy.scale_period)
    began = max(0, seen.current - grown)
    action = decide(history, seen, policy, NOW)

    if action.direction is Direction.UP:
        assert action.count <= max(began + 4, 2 * began, policy.min_worktrees)


@given(signals, policies, st.integers(0, 200))
def test_more_lag_never_means_fewer_worktrees(seen: ScalingSignal, policy: ScalingPolicy, extra: int) -> None:
    if seen.pending is None:
        return
    less, more = recommend(seen, policy), recommend(replace(seen, pending=seen.pending + extra), policy)

    assert less is more is None or (less is not None and more is not None and less <= more)


@given(st.lists(st.integers(36, 44), min_size=20, max_size=60))
def test_ten_percent_of_noise_never_makes_it_swing(lags: list[int]) -> None:
    """Forty tasks give or take a tenth, looked at every 15 s: at most one change of direction in a window."""
    fleet = Fleet(POLICY, current=4)
    moves = [fleet.look(lag, at=15 * index).direction for index, lag in enumerate(lags)]
    steps = [(15 * at, move) for at, move in enumerate(moves) if move is not Direction.HOLD]
    turns = [later for (_, was), (later, now) in pairwise(steps) if was is not now]

    assert all(later - earlier >= 300 for earlier, later in pairwise(turns))


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60))
def test_history_stays_bounded(lags: list[int]) -> None:
    fleet = Fleet(POLICY, current=1)
    for index, lag in enumerate(lags):
        fleet.look(lag, at=index / 2)
        counts = [count for _, count in fleet.history.recommendations]
        assert counts == sorted(set(counts), reverse=True), "strictly falling, so no longer than the limit"
        assert len(fleet.history.steps) <= 30
