"""Intervals that hold at every look, for showing and for limits taken from the past. Exact, rounded outward.

Sources: design notes, sections "Shown, always" and "Performance drop".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb

from decision_engine.evidence import LimitEvidence

GRID = 10_000
"""Shown bounds are multiples of 1/10,000."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds in ten-thousandths, both included."""

    low_per_10000: int
    high_per_10000: int

    @property
    def low(self) -> float:
        """The lower bound, from 0 to 1."""
        return self.low_per_10000 / GRID

    @property
    def high(self) -> float:
        """The upper bound, from 0 to 1."""
        return self.high_per_10000 / GRID


@lru_cache(maxsize=1024)
def success_interval(successes: int, tasks: int, alpha: Fraction) -> Interval:
    """Two-sided and anytime-valid: {p : (n+1) C(n, s) p^s (1-p)^(n-s) >= alpha}, rounded outward.

    Raises:
        ValueError: not 0 <= successes <= tasks, or alpha not in (0, 1].
    """
    if not 0 <= successes <= tasks:
        raise ValueError(f"0 <= successes <= tasks; got {successes} of {tasks}")
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha is above 0 and at most 1; got {alpha}")
    low = _below_low_end(successes, tasks, alpha)
    # The upper end of s successes is the mirror image of the lower end of n - s.
    return Interval(low, GRID - _below_low_end(tasks - successes, tasks, alpha))


def _below_low_end(successes: int, tasks: int, alpha: Fraction) -> int:
    """The largest grid point below the interval: outward even where its end lies on the grid."""
    if successes == 0:
        return 0
    factor = (tasks + 1) * comb(tasks, successes) * alpha.denominator
    goal = alpha.numerator * int(GRID**tasks)
    failures = tasks - successes

    def outside(k: int) -> bool:
        return bool(factor * k**successes * (GRID - k) ** failures < goal)

    # The likelihood rises up to s/n, where it is above alpha (its mean over p is 1).
    return _last_true(outside, 0, GRID * successes // tasks)


@lru_cache(maxsize=1024)
def win_share_low(wins: int, losses: int, threshold: Fraction) -> int:
    """Lower bound of the share of wins among discordant pairs, in ten-thousandths.

    The largest multiple q of 1/10,000 with F(wins, losses; q) >= threshold; at least 5,000 exactly when
    E(wins, losses) >= threshold. 0 if nothing is excluded.

    Raises:
        ValueError: a count is negative.
    """

    def excluded(k: int) -> bool:
        # F falls in q; at q = 0 a single win excludes everything.
        return k == 0 or LimitEvidence.of(wins, losses, Fraction(k, GRID)).reaches(threshold)

    if wins < 0 or losses < 0:
        raise ValueError(f"counts are never negative; got {wins} and {losses}")
    return _last_true(excluded, 0, GRID - 1) if wins else 0


@lru_cache(maxsize=1024)
def failure_limit_per_mille(failures: int, tasks: int) -> int:
    """Upper confidence limit of a failure rate, in thousandths; feeds the drop detector and the watch.

    The smallest u in 1..999 with P(Bin(tasks, u/1000) <= failures) <= 1/20, else 1000.

    Raises:
        ValueError: not 0 <= failures <= tasks.
    """
    if not 0 <= failures <= tasks:
        raise ValueError(f"0 <= failures <= tasks; got {failures} of {tasks}")

    def too_likely(u: int) -> bool:
        return 20 * _binomial_tail(failures, tasks, u) > int(1000**tasks)

    return _last_true(too_likely, 0, 999) + 1


def _binomial_tail(failures: int, tasks: int, per_mille: int) -> int:
    """1000^n P(Bin(n, u/1000) <= f)."""
    if per_mille == 0:
        return int(1000**tasks)
    c = 1000 - per_mille
    term = total = int(c**tasks)
    for k in range(1, failures + 1):
        term = term * (tasks - k + 1) * per_mille // (k * c)
        total += term
    return total


def _last_true(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The largest k in low..high for which `holds`: true at `low`, and never true again once false."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
