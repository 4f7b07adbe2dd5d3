"""What is always shown of one challenger: counts, rates with intervals, E, the threshold, how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from decision_engine.evidence import LimitEvidence, approximate, ratio_text, sign_evidence
from decision_engine.intervals import GRID, success_interval, win_share_low
from decision_engine.pairing import PairCount
from thymos.events import Verdict

_FARTHEST_DISCORDANT_PAIRS = 2_000
"""An estimate that needs more discordant pairs than this is not worth showing."""


@dataclass(frozen=True, slots=True)
class ArmReport:
    """One challenger against the control at one look. Rates from 0 to 1; `e_exact` is "n/d".

    `e_value` is E(wins, losses), evidence that the challenger is better, and merges at `threshold`;
    `harm_e_value` is evidence that it is worse, and rolls back at `harm_threshold`. The success intervals
    hold at every look. `more_pairs_needed` estimates, at the rates seen so far, how many more pairs a merge
    needs; None if it does not come nearer.
    """

    arm: str
    verdict: Verdict
    reason: str
    pairs: int
    wins: int
    losses: int
    ties: int
    e_value: float
    e_exact: str
    threshold: float
    harm_e_value: float
    harm_threshold: float
    successes: int
    errors: int
    success_low: float
    success_high: float
    control_successes: int
    control_low: float
    control_high: float
    win_share_low: float
    more_pairs_needed: int | None
    void: int
    remaining: int


def report_arm(
    arm: str,
    verdict: Verdict,
    reason: str,
    count: PairCount,
    *,
    alpha: Fraction,
    threshold: Fraction,
    harm_threshold: Fraction,
    better: LimitEvidence | None = None,
    harm: LimitEvidence | None = None,
) -> ArmReport:
    """Build the report; `better` and `harm` may be given where they are already known."""
    e_value = (better or sign_evidence(count.wins, count.losses)).value()
    harm_value = (harm or sign_evidence(count.harm_wins, count.harm_losses)).value()
    interval = success_interval(count.challenger_successes, count.pairs, alpha)
    control = success_interval(count.control_successes, count.pairs, alpha)
    return ArmReport(
        arm=arm,
        verdict=verdict,
        reason=reason,
        pairs=count.pairs,
        wins=count.wins,
        losses=count.losses,
        ties=count.ties,
        e_value=approximate(e_value),
        e_exact=ratio_text(e_value),
        threshold=approximate(threshold),
        harm_e_value=approximate(harm_value),
        harm_threshold=approximate(harm_threshold),
        successes=count.challenger_successes,
        errors=count.challenger_errors,
        success_low=interval.low,
        success_high=interval.high,
        control_successes=count.control_successes,
        control_low=control.low,
        control_high=control.high,
        win_share_low=win_share_low(count.wins, count.losses, threshold) / GRID,
        more_pairs_needed=more_pairs_needed(count.pairs, count.wins, count.losses, threshold),
        void=count.void,
        remaining=count.remaining,
    )


@lru_cache(maxsize=1024)
def more_pairs_needed(pairs: int, wins: int, losses: int, threshold: Fraction) -> int | None:
    """Roughly how many more pairs a merge needs if wins and losses keep coming as they did.

    0 if E is already there; None if wins do not outnumber losses, or the crossing is out of sight. In whole
    numbers, so that the same estimate comes out everywhere; whole pairs are interpolated, so it is an
    estimate and decides nothing.
    """

    def crosses(more: int) -> bool:
        later_wins, later_losses = wins * (pairs + more) // pairs, losses * (pairs + more) // pairs
        return sign_evidence(later_wins, later_losses).reaches(threshold)

    if wins <= losses:
        return None
    if crosses(0):
        return 0
    farthest = pairs * _FARTHEST_DISCORDANT_PAIRS // (wins + losses)
    high = 1
    while not crosses(high):
        if high >= farthest:
            return None
        high = min(2 * high, farthest)
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if crosses(middle) else (middle, high)
    return high
