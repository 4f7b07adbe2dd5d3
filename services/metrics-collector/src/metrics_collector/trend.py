"""Which way a success rate moves, and how much it wavers: exact arithmetic on counts."""

from collections.abc import Sequence
from fractions import Fraction
from math import comb

from thymos.metrics import Trend

TREND_OUTCOMES_MAX = 400
"""The newest outcomes that the trend looks at: enough to see ten points, few enough to be cheap."""
STABLE_OUTCOMES_MIN = 100
"""Fewer outcomes than this cannot tell *stable* from *not yet visible*: 50 against 50 miss a fall of 20
points from 0.9 about one time in three, 20 against 20 about three times in four."""
SIGNIFICANCE = Fraction(1, 40)
"""Chance of each wrong answer, Improving or Declining, where the rate does not move (5 % for both)."""
BLOCK = 20
"""Outcomes in a block of `variance`: of single outcomes it would only repeat p(1 − p)."""


def trend(successes: Sequence[bool]) -> Trend:
    """Compares the older and the newer half of the newest outcomes (ascending in event time) by Fisher's
    exact test.

    Given both halves' total of successes, and if every order of the outcomes is equally likely, the number in
    the newer half is hypergeometric: P(X ≤ x) at most 1/40 is Declining, P(X ≥ x) at most 1/40 is Improving.
    Both are exact at any count, so they may be said early. Stable needs at least 100 outcomes; anything else
    is Unknown.
    """
    newest = successes[-TREND_OUTCOMES_MAX:]
    half = len(newest) // 2
    if half == 0:
        return Trend.UNKNOWN
    # An odd one out belongs to neither half: the oldest of them is left out.
    older, newer = sum(newest[-2 * half : -half]), sum(newest[-half:])
    if at_most(newer, half, older + newer) <= SIGNIFICANCE:
        return Trend.DECLINING
    if at_most(older, half, older + newer) <= SIGNIFICANCE:
        return Trend.IMPROVING
    return Trend.STABLE if len(newest) >= STABLE_OUTCOMES_MIN else Trend.UNKNOWN


def at_most(successes: int, half: int, total: int) -> Fraction:
    """P(X ≤ successes) where X counts successes in one of two halves of `half` outcomes with `total`
    successes in all.

    P(X = i) = C(half, i) · C(half, total − i) / C(2·half, total).
    """
    lowest = max(0, total - half)
    ways = sum(comb(half, i) * comb(half, total - i) for i in range(lowest, successes + 1))
    return Fraction(ways, comb(2 * half, total))


def block_variance(successes: Sequence[bool]) -> float | None:
    """The sample variance (divisor k − 1) of the success rates of the k newest whole blocks of 20 outcomes.

    Ascending in event time; blocks are counted from the newest. None for fewer than two blocks.
    """
    blocks = len(successes) // BLOCK
    if blocks < 2:
        return None
    newest = successes[len(successes) - blocks * BLOCK :]
    counts = [sum(newest[start : start + BLOCK]) for start in range(0, len(newest), BLOCK)]
    # Σ(c − c̄)² / (k − 1) / 20², in whole numbers until the last division.
    spread = blocks * sum(count * count for count in counts) - sum(counts) ** 2
    return float(Fraction(spread, blocks * (blocks - 1) * BLOCK * BLOCK))
