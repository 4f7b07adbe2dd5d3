"""Intervals against exact values, outward rounding, and the limit taken from a baseline."""

from fractions import Fraction
from math import comb
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.evidence import sign_e_value
from decision_engine.intervals import failure_limit_per_mille, success_interval, win_share_low

ALPHA = Fraction(1, 20)


def test_every_recorded_interval(vectors: Any) -> None:
    for case in vectors("intervals")["two_sided"]:
        interval = success_interval(case["successes"], case["tasks"], Fraction(case["alpha"]))
        assert (interval.low_per_10000, interval.high_per_10000) == (
            case["low_per_10000"],
            case["high_per_10000"],
        ), case


def test_every_recorded_win_share(vectors: Any) -> None:
    for case in vectors("intervals")["win_share_low"]:
        low = win_share_low(case["wins"], case["losses"], Fraction(case["threshold"]))
        assert low == case["low_per_10000"], case
        assert (low >= 5_000) == case["crossed"]


def test_every_recorded_baseline_limit(vectors: Any) -> None:
    for case in vectors("drop_detector")["baseline"]:
        assert failure_limit_per_mille(case["failures"], case["tasks"]) == case["limit_per_mille"], case


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([20, 60, 400]))
@settings(max_examples=40)
def test_the_win_share_exceeds_a_half_exactly_when_e_crosses(wins: int, losses: int, threshold: int) -> None:
    crossed = sign_e_value(wins, losses) >= threshold
    assert (win_share_low(wins, losses, Fraction(threshold)) >= 5_000) == crossed


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=40)
def test_points_just_outside_the_interval_are_excluded(successes: int, failures: int) -> None:
    n = successes + failures
    interval = success_interval(successes, n, ALPHA)

    def inside(k: int) -> bool:
        p = Fraction(k, 10_000)
        return (n + 1) * comb(n, successes) * p**successes * (1 - p) ** failures >= ALPHA

    low, high = interval.low_per_10000, interval.high_per_10000
    assert low <= 10_000 * successes // max(n, 1) <= high
    assert low == 0 or (not inside(low) and inside(low + 1))
    assert high == 10_000 or (not inside(high) and inside(high - 1))


def test_failures_only_leave_no_limit() -> None:
    assert failure_limit_per_mille(100, 100) == 1000


@pytest.mark.parametrize(("successes", "tasks"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes: int, tasks: int) -> None:
    with pytest.raises(ValueError, match="0 <="):
        success_interval(successes, tasks, ALPHA)
    with pytest.raises(ValueError, match="0 <="):
        failure_limit_per_mille(successes, tasks)
