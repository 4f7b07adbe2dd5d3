"""What is *good enough* to merge. Evidence says whether it is *real*; merging needs both.

With n resolved pairs, s successes, e errors, T total time, index 1 the challenger and 0 the control:

    s1 >= min_success_rate n,   e1 <= max_error_rate n,   T1 <= max_response_time n,
    s1 >= min(n, (1 + min_improvement) s0)

and, where `min_failure_reduction` r is set, the last becomes s1/n >= min(1, (1+m) b, 1 - (1-b)(1-r)) with b =
s0/n. Source: design notes, section "Merge predicate".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from decision_engine.evidence import approximate
from decision_engine.pairing import PairCount


@dataclass(frozen=True, slots=True)
class SuccessCriteria:
    """What a challenger must reach. Exact fractions and microseconds; None leaves a criterion out."""

    min_success_rate: Fraction | None = None
    max_error_rate: Fraction | None = None
    max_response_time_us: int | None = None
    min_improvement: Fraction | None = None
    min_failure_reduction: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion at one look."""

    name: str
    met: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CriteriaReading:
    """All criteria at one look. `required_success_rate`: what an improvement takes, None if not asked."""

    criteria: tuple[Criterion, ...]
    required_success_rate: Fraction | None

    @property
    def met(self) -> bool:
        """Whether every criterion is met."""
        return all(criterion.met for criterion in self.criteria)

    @property
    def reason(self) -> str:
        """The unmet criteria in words; empty if there are none."""
        return "; ".join(criterion.reason for criterion in self.criteria if not criterion.met)


def read_criteria(criteria: SuccessCriteria, count: PairCount) -> CriteriaReading:
    """Check every criterion that is set on the counted pairs. No pairs meet nothing."""
    n, found = count.pairs, []
    if criteria.min_success_rate is not None:
        met = n > 0 and count.challenger_successes >= criteria.min_success_rate * n
        said = f"success rate {_rate(count.challenger_successes, n)} below {_show(criteria.min_success_rate)}"
        found.append(Criterion("min_success_rate", met, said))
    if criteria.max_error_rate is not None:
        met = n > 0 and count.challenger_errors <= criteria.max_error_rate * n
        said = f"error rate {_rate(count.challenger_errors, n)} above {_show(criteria.max_error_rate)}"
        found.append(Criterion("max_error_rate", met, said))
    if criteria.max_response_time_us is not None:
        found.append(_read_time(criteria.max_response_time_us, count))
    required = required_success_rate(criteria, count)
    if required is not None:
        met = n > 0 and count.challenger_successes >= required * n
        said = (
            f"success rate {_rate(count.challenger_successes, n)} below {_show(required)}, "
            f"which the control's {_rate(count.control_successes, n)} asks for"
        )
        found.append(Criterion("min_improvement", met, said))
    return CriteriaReading(tuple(found), required)


def required_success_rate(criteria: SuccessCriteria, count: PairCount) -> Fraction | None:
    """The success rate that improving on the concurrent control takes; None if that is not asked for."""
    if criteria.min_improvement is None and criteria.min_failure_reduction is None:
        return None
    control = Fraction(count.control_successes, count.pairs) if count.pairs else Fraction(0)
    asked = [Fraction(1)]
    if criteria.min_improvement is not None:
        asked.append((1 + criteria.min_improvement) * control)
    if criteria.min_failure_reduction is not None:
        asked.append(1 - (1 - control) * (1 - criteria.min_failure_reduction))
    return min(asked)


def best_case(count: PairCount) -> PairCount:
    """The count if every remaining task were an instant win for the challenger.

    Every criterion, and E, only gains from one more such win, so what the best case does not reach nothing
    reaches.
    """
    more = count.remaining
    return replace(
        count,
        pairs=count.pairs + more,
        wins=count.wins + more,
        harm_losses=count.harm_losses + more,
        challenger_successes=count.challenger_successes + more,
        challenger_timed=count.challenger_timed + more,
        challenger_unmeasured_run=0 if more else count.challenger_unmeasured_run,
        remaining=0,
    )


def _read_time(limit_us: int, count: PairCount) -> Criterion:
    name = "max_response_time"
    untimed = count.pairs - count.challenger_timed
    if untimed or not count.pairs:
        return Criterion(name, False, f"response time not measured on {untimed} of {count.pairs} pairs")
    mean_ms = count.challenger_total_us // count.pairs // 1000
    met = count.challenger_total_us <= limit_us * count.pairs
    return Criterion(name, met, f"mean response time {mean_ms} ms above {limit_us // 1000} ms")


def _rate(part: int, whole: int) -> str:
    return _show(Fraction(part, whole)) if whole else "unknown"


def _show(rate: Fraction) -> str:
    return f"{approximate(rate):.4g}"
