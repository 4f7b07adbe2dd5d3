"""The promise, simulated: looking after every pair, equal arms are merged less often than alpha says."""

from fractions import Fraction
from random import Random

from decision_engine.evidence import HALF, LimitEvidence

RUNS, PAIRS, MIN_PAIRS, THRESHOLD = 1_000, 300, 20, Fraction(20)


def first_crossing(random: Random, control_rate: float, challenger_rate: float) -> int | None:
    """After how many pairs, looking after each, the challenger would be merged."""
    evidence = LimitEvidence.start(HALF)
    for pair in range(1, PAIRS + 1):
        control, challenger = random.random() < control_rate, random.random() < challenger_rate
        if control != challenger:
            evidence = evidence.after(challenger)
        if pair >= MIN_PAIRS and evidence.reaches(THRESHOLD):
            return pair
    return None


def test_equal_arms_are_merged_less_often_than_alpha() -> None:
    random = Random(20)
    merged = sum(first_crossing(random, 0.8, 0.8) is not None for _ in range(RUNS))
    assert merged / RUNS < 0.05


def test_a_better_arm_is_found() -> None:
    random = Random(20)
    crossings = [first_crossing(random, 0.56, 0.87) for _ in range(60)]
    assert all(crossings)
    assert sorted(crossing or PAIRS for crossing in crossings)[30] < 60
