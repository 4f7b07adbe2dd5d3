"""How much of alpha one experiment may spend, so that an endless loop of experiments stays honest.

Fixed in the event that starts the experiment. Source: design notes, section "The loop's alpha budget"; the
sum of 6 / (pi^2 j^2) over all j is 1.
"""

from __future__ import annotations

from fractions import Fraction

PER_20 = "per_20"
LIFETIME = "lifetime"
EACH = "each"
ALLOWED = (PER_20, LIFETIME, EACH)

PI_SQUARED_UPPER = Fraction(9_869_604_401_089_359, 10**15)
"""A little above pi^2 = 9.86960440108935861...: it spends less, so the sum stays below alpha."""


def experiment_alpha(budget: str, alpha: Fraction, experiment_number: int) -> Fraction:
    """alpha_j, the error probability of the j-th experiment of an agent.

    Args:
        budget: `per_20` (alpha/20: at most alpha false merges expected in any 20 successive experiments),
            `lifetime` (6 alpha / (pi^2 j^2): at most alpha over all experiments ever) or `each` (alpha every
            time).
        alpha: the configured alpha, above 0 and below 1.
        experiment_number: j, from 1.

    Raises:
        ValueError: an unknown budget, an alpha or a number out of range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1; got {alpha}")
    if experiment_number < 1:
        raise ValueError(f"experiments are counted from 1; got {experiment_number}")
    match check_budget(budget):
        case "per_20":
            return alpha / 20
        case "lifetime":
            return 6 * alpha / (PI_SQUARED_UPPER * experiment_number**2)
        case _:
            return alpha


def merge_threshold(challengers: int, experiment_alpha_value: Fraction) -> Fraction:
    """K/alpha_j: the e-value at which one of K challengers is proven better.

    Raises:
        ValueError: no challenger.
    """
    if challengers < 1:
        raise ValueError(f"an experiment has at least one challenger; got {challengers}")
    return challengers / experiment_alpha_value


def check_budget(budget: str) -> str:
    """The budget's name, if it is one.

    Raises:
        ValueError: it is not; the message lists the allowed values.
    """
    if budget in ALLOWED:
        return budget
    allowed = ", ".join(repr(name) for name in ALLOWED)
    if budget == "fdr":
        raise ValueError(f"budget 'fdr' is not supported in this version; use one of {allowed}")
    raise ValueError(f"unknown budget {budget!r}; use one of {allowed}")
