"""The drop detector: bit for bit, and rarely wrong."""

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from decision_engine.drop_detector import DropDetector, limit_from_baseline, limit_from_threshold


def outcomes_until_alarm(detector: DropDetector, failures: str) -> DropDetector:
    """Feed "0" for success and "1" for failure until the alarm sounds."""
    for letter in failures:
        detector = detector.after(letter == "1")
        if detector.alarmed:
            break
    return detector


def test_every_recorded_run(vectors: Any) -> None:
    for case in vectors("drop_detector")["cases"]:
        start = DropDetector(case["limit_per_mille"], case["alarm_at_mean"])
        end = outcomes_until_alarm(start, case["failures"])
        assert (end.samples if end.alarmed else None) == case["alarm_after"], case
        assert [str(m) for m in end.state] == case["final_state"]
        detector, sums = start, list[str]()
        for letter in case["failures"][:5]:
            detector = detector.after(letter == "1")
            sums.append(str(detector.total))
        assert sums == case["first_sums"]


def test_a_false_alarm_comes_after_a_thousand_outcomes_in_the_mean() -> None:
    """Seeded; runs are cut at 4,000, which only shortens the mean."""
    random, runs = Random(7), []
    for _ in range(12):
        detector = DropDetector(limit_per_mille=100)
        while not detector.alarmed and detector.samples < 4_000:
            detector = detector.after(random.random() < 0.1)
        runs.append(detector.samples)
    assert sum(runs) / len(runs) >= 1_000


def test_a_drop_of_thirty_points_is_noticed_within_tens_of_outcomes() -> None:
    random, delays = Random(7), []
    for _ in range(41):
        detector = DropDetector(limit_per_mille=100)
        while not detector.alarmed:
            detector = detector.after(random.random() < 0.4)
        delays.append(detector.samples)
    assert 10 <= sorted(delays)[20] <= 30


def test_its_exact_state_is_shown_as_text_because_readers_of_json_round_large_numbers() -> None:
    detector = outcomes_until_alarm(DropDetector(134, 10_000), "1001011")
    assert detector.figures()["state"] == [str(number) for number in detector.state]


def test_restarted_forgets_the_past_and_keeps_the_settings() -> None:
    assert DropDetector(134, 10_000).after(True).restarted() == DropDetector(134, 10_000)


def test_the_reason_says_what_was_counted() -> None:
    assert (
        DropDetector(100)
        .after(True)
        .reason.startswith("1 failures in 1 outcomes since counting began, at most 10 % expected")
    )


@pytest.mark.parametrize(
    ("threshold", "limit"),
    [(Fraction(9, 10), 100), (Fraction(1, 10), 900), (Fraction(1), 1), (Fraction(0), 1000), (Fraction(2, 3), 334)],
)
def test_a_literal_threshold_sets_the_limit(threshold: Fraction, limit: int) -> None:
    assert limit_from_threshold(threshold) == limit


def test_a_baseline_needs_a_hundred_outcomes() -> None:
    assert limit_from_baseline(30, 300) == 134
    with pytest.raises(ValueError, match="at least 100"):
        limit_from_baseline(3, 99)


@pytest.mark.parametrize("wrong", [{"limit_per_mille": 0}, {"limit_per_mille": 1001}, {"alarm_at_mean": 0}])
def test_impossible_settings_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        DropDetector(**{"limit_per_mille": 100, **wrong})


def test_a_threshold_is_a_rate() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        limit_from_threshold(Fraction(3, 2))
