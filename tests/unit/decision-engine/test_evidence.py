"""F(x, y; q) against exact values, and the properties that its guarantee rests on."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from math import comb
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.evidence import (
    LimitEvidence,
    approximate,
    balance_e_value,
    exact,
    limit_e_value,
    ratio_text,
    sign_e_value,
)

counts = st.integers(min_value=0, max_value=60)
limits = st.integers(min_value=1, max_value=999).map(lambda u: Fraction(u, 1000))


def test_every_recorded_limit_e_value(vectors: Any, fraction: Callable[[Any], Fraction]) -> None:
    for case in vectors("limit_e_value")["cases"]:
        evidence = LimitEvidence.of(case["events"], case["non_events"], fraction(case["limit"]))
        assert evidence.value() == fraction(case["value"]), case
        reached = [evidence.reaches(Fraction(threshold)) for threshold in (20, 60, 80)]
        assert reached == [case["reached_20"], case["reached_60"], case["reached_80"]], case


def test_fewest_events_that_break_a_limit(vectors: Any, fraction: Callable[[Any], Fraction]) -> None:
    for boundary in vectors("limit_e_value")["boundaries"]:
        limit, threshold = fraction(boundary["limit"]), Fraction(boundary["threshold"])
        for non_events, fewest in boundary["non_events_and_fewest_events"]:
            assert LimitEvidence.of(fewest, non_events, limit).reaches(threshold)
            assert not LimitEvidence.of(fewest - 1, non_events, limit).reaches(threshold)


def test_every_recorded_sign_e_value(vectors: Any, fraction: Callable[[Any], Fraction]) -> None:
    for case in vectors("sign_e_process")["cases"]:
        assert sign_e_value(case["wins"], case["losses"]) == fraction(case), case


@given(counts, counts, limits)
def test_one_step_at_a_time_is_the_closed_form(events: int, non_events: int, limit: Fraction) -> None:
    evidence = LimitEvidence.start(limit)
    for event in [True] * events + [False] * non_events:
        evidence = evidence.after(event)
    assert evidence == LimitEvidence.of(events, non_events, limit)


@given(counts, counts, limits)
@settings(max_examples=50)
def test_a_fair_next_outcome_leaves_the_evidence_as_it_is(events: int, non_events: int, limit: Fraction) -> None:
    """The martingale that the guarantee rests on: at P(event) = q the expected next value is the current one."""
    now = LimitEvidence.of(events, non_events, limit)
    expected = limit * now.after(True).value() + (1 - limit) * now.after(False).value()
    assert expected == now.value()


@given(counts, counts, limits)
@settings(max_examples=50)
def test_an_event_speaks_against_the_limit_and_a_non_event_for_it(
    events: int, non_events: int, limit: Fraction
) -> None:
    now = LimitEvidence.of(events, non_events, limit)
    assert now.after(True).value() >= now.value() >= now.after(False).value()


@given(counts, counts, st.integers(1, 998))
@settings(max_examples=50)
def test_a_higher_limit_is_harder_to_break(events: int, non_events: int, u: int) -> None:
    lower, higher = Fraction(u, 1000), Fraction(u + 1, 1000)
    assert limit_e_value(events, non_events, lower) >= limit_e_value(events, non_events, higher)


@given(counts, counts, st.fractions(min_value=0, max_value=1000))
@settings(max_examples=50)
def test_reaching_a_threshold_is_comparing_the_value(wins: int, losses: int, threshold: Fraction) -> None:
    evidence = LimitEvidence.of(wins, losses, Fraction(1, 2))
    assert evidence.reaches(threshold) == (evidence.value() >= threshold)


def test_both_directions_share_one_sum() -> None:
    """E(w, l) + E(l, w) = 2^(n+1) / ((n+1) C(n, w)): the two tails make up the whole."""
    assert sign_e_value(30, 12) + sign_e_value(12, 30) == Fraction(2**43, 43 * comb(42, 30))


def test_thousands_of_outcomes_stay_exact() -> None:
    evidence = LimitEvidence.start(Fraction(1, 10))
    for task in range(5_000):
        evidence = evidence.after(task % 7 == 0)
    assert evidence == LimitEvidence.of(715, 4285, Fraction(1, 10))
    assert evidence.reaches(Fraction(60))


@pytest.mark.parametrize("limit", [Fraction(0), Fraction(1), Fraction(-1, 2), Fraction(3, 2)])
def test_a_limit_lies_between_0_and_1(limit: Fraction) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        LimitEvidence.of(1, 1, limit)


def test_counts_are_never_negative() -> None:
    with pytest.raises(ValueError, match="never negative"):
        sign_e_value(-1, 0)


def test_lopsided_counts_are_evidence_of_imbalance() -> None:
    assert balance_e_value(5, 5) < 1
    assert balance_e_value(13, 0) < 1000 <= balance_e_value(14, 0)
    assert balance_e_value(9, 2) == (sign_e_value(9, 2) + sign_e_value(2, 9)) / 2


@pytest.mark.parametrize("said", [0.1, "0.1", Decimal("0.1"), Fraction(1, 10), "1/10"])
def test_a_number_is_what_was_written(said: Any) -> None:
    assert exact(said) == Fraction(1, 10)


@pytest.mark.parametrize(
    "said", ["ten", float("nan"), float("inf"), Decimal("NaN"), "1/0", "", "1e999999999", Decimal("1e-999999999")]
)
def test_what_is_not_a_number_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        exact(said)


def test_enormous_e_values_can_still_be_written_and_shown() -> None:
    enormous = sign_e_value(20_000, 0)
    assert ratio_text(enormous).endswith("/20001") or "/" in ratio_text(enormous)
    assert len(ratio_text(enormous)) > 4_300
    assert approximate(enormous) == 2.0**1023
    assert ratio_text(Fraction(3)) == "3/1"
