"""Quantiles are values that occurred, and nothing is made up where there is no data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector.quantiles import durations, mean, quantile


def test_no_data_has_no_quantiles() -> None:
    assert durations([]).model_dump() == {"mean_ms": None, "p50_ms": None, "p95_ms": None, "p99_ms": None}


def test_one_value_is_every_quantile() -> None:
    assert durations([7.0]).model_dump() == {"mean_ms": 7.0, "p50_ms": 7.0, "p95_ms": 7.0, "p99_ms": 7.0}


def test_quantiles_of_a_hundred_values() -> None:
    found = durations(float(value) for value in range(1, 101))
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.mean_ms) == (50.0, 95.0, 99.0, 50.5)


@given(st.lists(st.floats(0, 1e9), min_size=1), st.sampled_from([50, 95, 99]))
def test_at_least_so_many_percent_lie_at_or_below_a_quantile_and_fewer_below(values: list[float], percent: int) -> None:
    found = quantile(sorted(values), percent)
    assert found is not None
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_mean_does_not_depend_on_the_order(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert mean(shuffled) == mean(values)


def test_the_mean_of_nothing_is_none() -> None:
    assert mean([]) is None
    assert quantile([], 50) is None
    assert mean([0.1] * 10) == pytest.approx(0.1)
