"""Failure criteria: fast where something is broken, silent on three samples."""

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.limits import (
    FailureLimits,
    LatencyProduct,
    LimitReading,
    LimitTracker,
    OutcomeTally,
    first_crossed,
    read_limits,
    read_watch,
    tally_of,
)
from decision_engine.pairing import ArmOutcome, PairStatus

ALPHA = Fraction(1, 20)
SEED = FailureLimits(Fraction(1, 10), Fraction(1, 2), 10_000_000)
SUCCESS, FAILURE, ERROR, TIMEOUT, MISSING = (
    ArmOutcome(status)
    for status in (
        PairStatus.SUCCESS,
        PairStatus.FAILURE,
        PairStatus.ERROR,
        PairStatus.TIMEOUT,
        PairStatus.MISSING,
    )
)


def broken(outcomes: list[ArmOutcome], limits: FailureLimits = SEED, deadline_us: int | None = None) -> str | None:
    """The name of the limit that these outcomes break."""
    reading = first_crossed(read_limits(limits, tally_of(outcomes, limits, deadline_us), ALPHA))
    return reading.name if reading else None


def test_every_recorded_limit(vectors: Any, fraction: Any) -> None:
    for case in vectors("failure_criteria")["cases"]:
        tally = OutcomeTally(case["tasks"], case["errors"], case["not_successes"])
        errors, success = read_limits(SEED, tally, ALPHA)
        assert errors.e_value == fraction(case["error_e"]), case
        assert success.e_value == fraction(case["success_e"]), case
        assert (errors.crossed or success.crossed) == case["rolls_back"], case


@pytest.mark.parametrize(
    ("errors", "tasks", "breaks"), [(1, 3, False), (3, 3, True), (4, 6, True), (5, 10, True), (2, 2, False)]
)
def test_few_errors_are_no_evidence(errors: int, tasks: int, breaks: bool) -> None:
    assert (broken([ERROR] * errors + [SUCCESS] * (tasks - errors)) == "error_rate") == breaks


def test_wrong_is_not_broken() -> None:
    assert broken([FAILURE] * 8) is None
    assert broken([FAILURE] * 9) == "success_rate"


def test_the_reason_says_what_was_seen() -> None:
    reading = first_crossed(read_limits(SEED, tally_of([ERROR] * 3, SEED), ALPHA))
    assert reading is not None
    assert reading.reason == "3 errors in 3 tasks, allowed rate 0.1: evidence 277.8 >= 60"


def test_what_was_not_measured_is_no_evidence() -> None:
    assert tally_of([MISSING] * 50, SEED) == OutcomeTally.start(SEED)


def test_slow_answers_break_the_time_limit() -> None:
    limits = FailureLimits(max_response_time_us=10_000_000)
    slow, fast = ArmOutcome(PairStatus.SUCCESS, 25_000_000), ArmOutcome(PairStatus.SUCCESS, 1_000_000)
    assert broken([slow] * 3, limits, deadline_us=30_000_000) is None
    assert broken([slow] * 20, limits, deadline_us=30_000_000) == "response_time"
    assert broken([fast] * 300, limits, deadline_us=30_000_000) is None


def test_one_task_that_hung_for_an_hour_convicts_nobody() -> None:
    limits = FailureLimits(max_response_time_us=1_000_000)
    hung = ArmOutcome(PairStatus.SUCCESS, 3_600_000_000)
    assert broken([hung], limits) is None


def test_a_timeout_took_the_whole_deadline() -> None:
    limits = FailureLimits(max_response_time_us=1_000_000)
    assert tally_of([TIMEOUT], limits, 4_000_000) == tally_of(
        [ArmOutcome(PairStatus.TIMEOUT, 4_000_000)], limits, 4_000_000
    )


times_us = st.lists(st.integers(0, 40_000_000), max_size=40)


@given(times_us)
@settings(max_examples=40)
def test_the_stored_latency_product_is_just_below_the_exact_one(times: list[int]) -> None:
    limit_us, clip_us = 10_000_000, 30_000_000
    stored = LatencyProduct(limit_us, clip_us)
    for time in times:
        stored = stored.after(time)
    exact = Fraction(0)
    for c in (Fraction(1, 16), Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)):
        product = Fraction(1)
        for time in times:
            m, x = Fraction(limit_us, clip_us), min(Fraction(time, clip_us), Fraction(1))
            product *= 1 + c * (x - m) / m
        exact += product / 4
    assert stored.value() <= exact <= stored.value() + Fraction(1, 1 << 60)


def test_a_time_at_the_limit_leaves_the_product_as_it_is() -> None:
    product = LatencyProduct(10, 30).after(10).after(10)
    assert product.value() == 1


outcomes = st.builds(
    ArmOutcome,
    st.sampled_from([PairStatus.SUCCESS, PairStatus.FAILURE, PairStatus.ERROR, PairStatus.MISSING]),
    st.integers(0, 30_000_000),
)


@given(st.lists(outcomes, max_size=40))
@settings(max_examples=40)
def test_following_the_outcomes_one_by_one_reads_the_same(given_outcomes: list[ArmOutcome]) -> None:
    tracker, seen = LimitTracker(SEED, ALPHA), list[ArmOutcome]()
    for outcome in given_outcomes:
        seen.append(outcome)
        if outcome.status is PairStatus.MISSING:
            continue
        expected = first_crossed(read_limits(SEED, tally_of(seen, SEED), ALPHA))
        assert tracker.add(outcome) == expected


@given(st.lists(outcomes, max_size=20), st.sampled_from([SEED, FailureLimits()]))
@settings(max_examples=40)
def test_a_stored_tally_is_read_back_whole(given_outcomes: list[ArmOutcome], limits: FailureLimits) -> None:
    tally = tally_of(given_outcomes, limits)
    assert OutcomeTally.from_json(json.loads(json.dumps(tally.to_json()))) == tally


def test_two_tallies_together_are_the_tally_of_both() -> None:
    fast, slow = ArmOutcome(PairStatus.SUCCESS, 5_000_000), ArmOutcome(PairStatus.FAILURE, 30_000_000)
    both = tally_of([fast, slow, ERROR], SEED)

    assert tally_of([fast], SEED).plus(tally_of([slow, ERROR], SEED)) == both
    assert tally_of([], SEED).plus(both) == both


def test_an_endless_row_of_slow_tasks_stays_short_enough_to_store() -> None:
    product = LatencyProduct(10, 100)
    for _ in range(3_000):
        product = product.after(100)

    assert max(product.products).bit_length() < 4_300
    assert max(product.plus(product).products) == max(product.products)


def test_something_else_is_not_a_stored_tally() -> None:
    with pytest.raises(ValueError, match="not a stored tally"):
        OutcomeTally.from_json({"tasks": "3"})


def test_a_limit_of_nothing_is_broken_by_one_and_a_limit_of_everything_by_none() -> None:
    assert broken([ERROR], FailureLimits(max_error_rate=Fraction(0))) == "error_rate"
    assert broken([FAILURE], FailureLimits(min_success_rate=Fraction(1))) == "success_rate"
    assert broken([ERROR] * 99, FailureLimits(Fraction(1), Fraction(0))) is None


def test_limits_that_are_switched_off_are_not_read() -> None:
    assert read_limits(FailureLimits(), OutcomeTally(9, 9, 9), ALPHA) == ()


@pytest.mark.parametrize(
    "wrong", [{"max_error_rate": Fraction(2)}, {"min_success_rate": Fraction(-1)}, {"max_response_time_us": 0}]
)
def test_impossible_limits_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        FailureLimits(**wrong)


def test_the_watch_rolls_back_at_80() -> None:
    def watch(failures: int, successes: int) -> LimitReading:
        return read_watch(OutcomeTally(failures + successes, 0, failures), limit_per_mille=134)

    assert not watch(2, 0).crossed
    assert watch(3, 0).crossed
    assert not watch(3, 1).crossed
    assert watch(3, 0).threshold == 80
    assert watch(3, 0).reason.startswith("3 failures in 3 tasks since the last good commit, at most 0.134")
