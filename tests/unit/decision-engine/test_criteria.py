"""The merge predicate: exact at its edges, against the concurrent control."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.configured_criteria import failure_limits, success_criteria
from decision_engine.criteria import SuccessCriteria, best_case, read_criteria
from decision_engine.limits import FailureLimits
from decision_engine.pairing import PairCount
from thymos.config import Config

SEED = SuccessCriteria(Fraction(9, 10), Fraction(1, 100), 5_000_000, Fraction(1, 10))


def counted(case: Any) -> PairCount:
    """The count of a vector."""
    return PairCount(
        pairs=case["pairs"],
        challenger_successes=case["challenger_successes"],
        control_successes=case["control_successes"],
        challenger_errors=case["challenger_errors"],
        challenger_total_us=case["challenger_total_us"],
        challenger_timed=case["pairs"],
    )


def test_every_recorded_case(vectors: Any, fraction: Any) -> None:
    for case in vectors("criteria")["cases"]:
        reading = read_criteria(SEED, counted(case))
        for criterion in reading.criteria:
            assert criterion.met == case["predicates"][criterion.name], (case, criterion)
        assert reading.required_success_rate == fraction(case["predicates"]["required_success_rate"])
        assert reading.met == case["met"]
        eased = replace(SEED, min_failure_reduction=Fraction(1, 2))
        assert read_criteria(eased, counted(case)).met == case["met_with_min_failure_reduction_half"]


def test_no_pairs_meet_nothing() -> None:
    assert not any(criterion.met for criterion in read_criteria(SEED, PairCount()).criteria)


def test_a_time_that_was_not_measured_is_not_good_enough() -> None:
    count = PairCount(pairs=30, challenger_successes=30, challenger_timed=29, challenger_total_us=1)
    reading = read_criteria(SuccessCriteria(max_response_time_us=5_000_000), count)
    assert reading.reason == "response time not measured on 1 of 30 pairs"


def test_the_reason_names_what_is_not_met() -> None:
    count = PairCount(pairs=100, challenger_successes=85, control_successes=80, challenger_timed=100)
    assert read_criteria(SEED, count).reason == (
        "success rate 0.85 below 0.9; success rate 0.85 below 0.88, which the control's 0.8 asks for"
    )


small = st.integers(0, 12)


@given(small, small, small, small, st.integers(0, 10))
@settings(max_examples=80)
def test_nothing_is_better_than_the_best_case(
    pairs: int, successes: int, control: int, errors: int, remaining: int
) -> None:
    """What the best case of the remaining tasks does not meet, a shorter best case does not meet either."""
    now = PairCount(
        pairs=pairs,
        challenger_successes=min(successes, pairs),
        control_successes=min(control, pairs),
        challenger_errors=min(errors, pairs),
        challenger_total_us=6_000_000 * pairs,
        challenger_timed=pairs,
    )
    criteria = replace(SEED, min_failure_reduction=Fraction(1, 2))
    sooner = read_criteria(criteria, best_case(replace(now, remaining=remaining)))
    later = read_criteria(criteria, best_case(replace(now, remaining=remaining + 1)))
    assert later.met or not sooner.met


def test_the_configuration_s_numbers_arrive_exactly() -> None:
    versioning = Config().versioning
    assert success_criteria(versioning.success_criteria) == SEED
    assert failure_limits(versioning.failure_criteria) == FailureLimits(Fraction(1, 10), Fraction(1, 2), 10_000_000)


@pytest.mark.parametrize("criteria", [SuccessCriteria()])
def test_without_criteria_everything_is_good_enough(criteria: SuccessCriteria) -> None:
    assert read_criteria(criteria, PairCount()).met
