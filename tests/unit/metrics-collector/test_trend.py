"""The trend speaks when the counts prove it, and the variance is one of blocks."""

from fractions import Fraction
from statistics import variance

import pytest

from metrics_collector.trend import SIGNIFICANCE, at_most, block_variance, trend
from thymos.metrics import Trend

WIN, LOSS = True, False


def test_nothing_is_unknown() -> None:
    assert trend([]) is Trend.UNKNOWN


def test_few_outcomes_that_prove_nothing_are_unknown_not_stable() -> None:
    assert trend([WIN, LOSS] * 30) is Trend.UNKNOWN


def test_many_outcomes_at_one_rate_are_stable() -> None:
    assert trend([WIN, WIN, WIN, LOSS] * 30) is Trend.STABLE


def test_a_collapse_is_declining_even_early() -> None:
    assert trend([WIN] * 10 + [LOSS] * 10) is Trend.DECLINING


def test_a_recovery_is_improving() -> None:
    assert trend([LOSS] * 10 + [WIN] * 10) is Trend.IMPROVING


def test_only_the_newest_four_hundred_count() -> None:
    assert trend([LOSS] * 1_000 + [WIN] * 400) is Trend.STABLE


def test_the_probability_is_fishers() -> None:
    # P(X ≤ 2) = (C(10,0)·C(10,10) + C(10,1)·C(10,9) + C(10,2)·C(10,8)) / C(20,10)
    assert at_most(2, 10, 10) == Fraction(1 + 100 + 2025, 184_756)
    assert at_most(10, 10, 10) == 1


@pytest.mark.parametrize("total", range(21))
def test_neither_wrong_answer_is_likelier_than_one_in_forty(total: int) -> None:
    weights = [at_most(i, 10, total) - (at_most(i - 1, 10, total) if i else 0) for i in range(min(10, total) + 1)]
    declining = sum(w for i, w in enumerate(weights) if at_most(i, 10, total) <= SIGNIFICANCE)
    assert declining <= SIGNIFICANCE


def test_variance_needs_two_blocks() -> None:
    assert block_variance([WIN] * 39) is None
    assert block_variance([WIN] * 40) == 0.0


def test_variance_is_that_of_the_block_means_counted_from_the_newest() -> None:
    blocks = [[WIN] * wins + [LOSS] * (20 - wins) for wins in (10, 20, 15)]
    outcomes = [LOSS] * 7 + [outcome for block in blocks for outcome in block]
    assert block_variance(outcomes) == pytest.approx(variance([0.5, 1.0, 0.75]))
