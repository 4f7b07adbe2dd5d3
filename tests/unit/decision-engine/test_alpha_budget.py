"""How much of alpha one experiment may spend."""

from fractions import Fraction
from typing import Any

import pytest

from decision_engine.alpha_budget import experiment_alpha, merge_threshold
from decision_engine.evidence import sign_e_value

ALPHA = Fraction(1, 20)


def test_every_recorded_budget(vectors: Any) -> None:
    for case in vectors("alpha_budget")["cases"]:
        challengers, number = case["challengers"], case["experiment"]
        threshold = merge_threshold(challengers, experiment_alpha("per_20", ALPHA, number))
        assert threshold == case["per_20_threshold"]
        wins = case["wins_to_nil_per_20"]
        assert sign_e_value(wins - 1, 0) < threshold <= sign_e_value(wins, 0)
        lifetime = merge_threshold(challengers, experiment_alpha("lifetime", ALPHA, number))
        assert float(lifetime) == pytest.approx(case["seed_pi2_threshold"], rel=1e-4)


def test_a_lifetime_of_experiments_spends_less_than_alpha() -> None:
    spent = sum((experiment_alpha("lifetime", ALPHA, j) for j in range(1, 2_000)), Fraction(0))
    # What is left after J experiments is at most alpha / (J pi^2 / 6) < alpha / J.
    assert ALPHA - ALPHA / 1_999 < spent < ALPHA


def test_each_spends_alpha_every_time() -> None:
    assert experiment_alpha("each", ALPHA, 7) == ALPHA


def test_fdr_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="'fdr' is not supported in this version; use one of 'per_20', 'lifetime'"):
        experiment_alpha("fdr", ALPHA, 1)


@pytest.mark.parametrize(
    ("budget", "alpha", "number", "said"),
    [
        ("weekly", ALPHA, 1, "unknown budget 'weekly'; use one of"),
        ("each", Fraction(0), 1, "alpha lies between 0 and 1"),
        ("each", ALPHA, 0, "counted from 1"),
    ],
)
def test_wrong_settings_are_refused(budget: str, alpha: Fraction, number: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        experiment_alpha(budget, alpha, number)


def test_an_experiment_has_a_challenger() -> None:
    with pytest.raises(ValueError, match="at least one challenger"):
        merge_threshold(0, ALPHA)
