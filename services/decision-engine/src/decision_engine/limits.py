"""Failure criteria: limits that one arm breaks on its own, without a comparison.

Three limits share alpha, so each is reached at an e-value of 3/alpha: too many errors, too few successes, too
slow. The first two are F of evidence.py. The third is the latency product: with m = max_response_time /
deadline and x = time / deadline clipped to 1,

    mean over c in {1/16, 1/8, 1/4, 1/2} of  prod (1 + c (x - m) / m)

an e-value against "the expected clipped time is at most max_response_time". The clip keeps one task that hung
for an hour from convicting an arm. Source: design notes, section "Limits (failure criteria)".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from decision_engine.evidence import LimitEvidence, approximate
from decision_engine.pairing import MEASURED, ArmOutcome, PairStatus

LIMIT_COUNT = 3
"""Limits that share alpha."""
WATCH_THRESHOLD = Fraction(80)
"""The e-value at which the watch over main rolls back."""
CLIP_AT_LIMITS = 10
"""Where times are clipped when no deadline is known, in multiples of max_response_time."""

_BETS = (1, 2, 4, 8)  # sixteenths: c = 1/16, 1/8, 1/4, 1/2
_ONE = 1 << 128
_CEILING = _ONE << 4096
"""Where products stop growing: far beyond every threshold, and short enough to be stored."""


@dataclass(frozen=True, slots=True)
class FailureLimits:
    """What an arm must not do. Exact rates from 0 to 1, times in microseconds; None switches a limit off."""

    max_error_rate: Fraction | None = None
    min_success_rate: Fraction | None = None
    max_response_time_us: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_error_rate", "min_success_rate"):
            rate = getattr(self, name)
            if rate is not None and not 0 <= rate <= 1:
                raise ValueError(f"{name} lies between 0 and 1; got {rate}")
        if self.max_response_time_us is not None and self.max_response_time_us <= 0:
            raise ValueError(f"max_response_time_us is positive; got {self.max_response_time_us}")


@dataclass(frozen=True, slots=True)
class LatencyProduct:
    """The latency products of the four bets, as whole multiples of 2^-128, each step rounded down.

    Exact products would grow by the digits of every measured time. Rounding down keeps the guarantee: every
    factor is positive, so each stored product is at most the exact one, and what never exceeds an e-process
    reaches 3/alpha at most as often. 2^-128 is small enough that a lucky start (times near zero) is not
    forgotten for a few hundred tasks by the boldest bet and for thousands by the others.
    """

    max_response_time_us: int
    clip_us: int
    products: tuple[int, int, int, int] = (_ONE, _ONE, _ONE, _ONE)
    tasks: int = 0
    total_us: int = 0

    def after(self, *latencies_us: int) -> LatencyProduct:
        """The products after more tasks, in this order; microseconds, negative ones count as 0."""
        clip_us, limit_us, unit = self.clip_us, self.max_response_time_us, 16 * self.max_response_time_us
        one, two, four, eight = self.products
        total_us = self.total_us
        for latency_us in latencies_us:
            time_us = min(max(latency_us, 0), clip_us)
            slower_us = time_us - limit_us
            one = min(_CEILING, one * (unit + _BETS[0] * slower_us) // unit)
            two = min(_CEILING, two * (unit + _BETS[1] * slower_us) // unit)
            four = min(_CEILING, four * (unit + _BETS[2] * slower_us) // unit)
            eight = min(_CEILING, eight * (unit + _BETS[3] * slower_us) // unit)
            total_us += time_us
        tasks = self.tasks + len(latencies_us)
        return replace(self, products=(one, two, four, eight), tasks=tasks, total_us=total_us)

    def plus(self, other: LatencyProduct) -> LatencyProduct:
        """The products over the tasks of both, which are different ones of the same limit."""
        one, two, four, eight = (
            min(_CEILING, mine * theirs // _ONE) for mine, theirs in zip(self.products, other.products, strict=True)
        )
        return replace(
            self,
            products=(one, two, four, eight),
            tasks=self.tasks + other.tasks,
            total_us=self.total_us + other.total_us,
        )

    def value(self) -> Fraction:
        """The mean of the four products."""
        return Fraction(sum(self.products), len(_BETS) * _ONE)


@dataclass(frozen=True, slots=True)
class OutcomeTally:
    """Measured outcomes of one arm or of main, as the limits need them; no time limit, no `latency`."""

    tasks: int = 0
    errors: int = 0
    not_successes: int = 0
    latency: LatencyProduct | None = None

    @classmethod
    def start(cls, limits: FailureLimits, deadline_us: int | None = None) -> OutcomeTally:
        """No outcome yet.

        Args:
            limits: whose time limit is watched.
            deadline_us: a task's deadline, where times are clipped; without one, ten times the time limit.
        """
        limit_us = limits.max_response_time_us
        if limit_us is None:
            return cls()
        return cls(latency=LatencyProduct(limit_us, deadline_us or CLIP_AT_LIMITS * limit_us))

    @property
    def successes(self) -> int:
        """Outcomes that were a success."""
        return self.tasks - self.not_successes

    def after(self, *outcomes: ArmOutcome) -> OutcomeTally:
        """The tally after more outcomes, in this order; what was not measured changes nothing.

        A timeout without a time of its own took as long as times are counted.
        """
        measured = [outcome for outcome in outcomes if outcome.status in MEASURED]
        latency = self.latency
        if latency is not None:
            longest_us = latency.clip_us
            times_us = [
                longest_us if outcome.status is PairStatus.TIMEOUT else outcome.latency_us for outcome in measured
            ]
            latency = latency.after(*(time_us for time_us in times_us if time_us is not None))
        return OutcomeTally(
            tasks=self.tasks + len(measured),
            errors=self.errors + sum(outcome.status is PairStatus.ERROR for outcome in measured),
            not_successes=self.not_successes + sum(outcome.status is not PairStatus.SUCCESS for outcome in measured),
            latency=latency,
        )

    def plus(self, other: OutcomeTally) -> OutcomeTally:
        """The tally over the outcomes of both, which are different ones under the same limits."""
        mine, theirs = self.latency, other.latency
        return OutcomeTally(
            tasks=self.tasks + other.tasks,
            errors=self.errors + other.errors,
            not_successes=self.not_successes + other.not_successes,
            latency=mine.plus(theirs) if mine and theirs else mine or theirs,
        )

    def under(self, limits: FailureLimits) -> OutcomeTally:
        """The tally as these limits read it: times that were weighed against another limit do not count."""
        fresh, latency = OutcomeTally.start(limits).latency, self.latency
        known = latency and (latency.max_response_time_us, latency.clip_us)
        wanted = fresh and (fresh.max_response_time_us, fresh.clip_us)
        return self if known == wanted else replace(self, latency=fresh)

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists, for storing; `from_json` reads them back."""
        latency = self.latency
        return {
            "tasks": self.tasks,
            "errors": self.errors,
            "not_successes": self.not_successes,
            "latency": None
            if latency is None
            else [
                latency.max_response_time_us,
                latency.clip_us,
                *latency.products,
                latency.tasks,
                latency.total_us,
            ],
        }

    @classmethod
    def from_json(cls, stored: dict[str, object]) -> OutcomeTally:
        """What `to_json` wrote.

        Raises:
            ValueError: `stored` is something else.
        """
        match stored:
            case {
                "tasks": int(tasks),
                "errors": int(errors),
                "not_successes": int(not_successes),
                "latency": None,
            }:
                return cls(tasks, errors, not_successes)
            case {
                "tasks": int(tasks),
                "errors": int(errors),
                "not_successes": int(not_successes),
                "latency": [
                    int(limit),
                    int(clip),
                    int(one),
                    int(two),
                    int(four),
                    int(eight),
                    int(timed),
                    int(total),
                ],
            }:
                product = LatencyProduct(limit, clip, (one, two, four, eight), timed, total)
                return cls(tasks, errors, not_successes, product)
        raise ValueError(f"not a stored tally: {stored!r}")


@dataclass(frozen=True, slots=True)
class LimitReading:
    """One limit at one look. `e_value` is None where a single outcome decides (a limit of exactly 0)."""

    name: str
    crossed: bool
    e_value: Fraction | None
    threshold: Fraction
    reason: str


def tally_of(outcomes: Iterable[ArmOutcome], limits: FailureLimits, deadline_us: int | None = None) -> OutcomeTally:
    """The tally of outcomes in the given order, which matters only to the last bits of the latency."""
    return OutcomeTally.start(limits, deadline_us).after(*outcomes)


def limit_threshold(alpha: Fraction) -> Fraction:
    """3/alpha: the e-value at which one of the three limits is broken."""
    return LIMIT_COUNT / alpha


def read_limits(limits: FailureLimits, tally: OutcomeTally, alpha: Fraction) -> tuple[LimitReading, ...]:
    """Every limit that is switched on, in the order error_rate, success_rate, response_time."""
    threshold = limit_threshold(alpha)
    readings: list[LimitReading] = []
    if limits.max_error_rate is not None:
        what = f"{tally.errors} errors in {tally.tasks} tasks, allowed rate {_decimal(limits.max_error_rate)}"
        rest = tally.tasks - tally.errors
        readings.append(_read_rate("error_rate", tally.errors, rest, limits.max_error_rate, threshold, what))
    if limits.min_success_rate is not None:
        wanted = _decimal(limits.min_success_rate)
        what = f"{tally.successes} successes in {tally.tasks} tasks, wanted rate {wanted}"
        allowed = 1 - limits.min_success_rate
        readings.append(_read_rate("success_rate", tally.not_successes, tally.successes, allowed, threshold, what))
    if limits.max_response_time_us is not None and tally.latency is not None:
        readings.append(_read_latency(tally.latency, threshold))
    return tuple(readings)


def first_crossed(readings: Iterable[LimitReading]) -> LimitReading | None:
    """The first limit that is broken, if any is."""
    return next((reading for reading in readings if reading.crossed), None)


class LimitTracker:
    """The limits after every outcome of a long record, at the cost of one step each; reads like `read_limits`."""

    def __init__(self, limits: FailureLimits, alpha: Fraction, deadline_us: int | None = None) -> None:
        self._limits, self._alpha = limits, alpha
        self._tally = OutcomeTally.start(limits, deadline_us)
        self._errors = _evidence_against(limits.max_error_rate)
        self._failures = _evidence_against(None if limits.min_success_rate is None else 1 - limits.min_success_rate)

    def add(self, outcome: ArmOutcome) -> LimitReading | None:
        """Count one more outcome; the limit that is broken after it, if any is."""
        if outcome.status not in MEASURED:
            return None
        self._tally = self._tally.after(outcome)
        self._errors = self._errors and self._errors.after(outcome.status is PairStatus.ERROR)
        self._failures = self._failures and self._failures.after(outcome.status is not PairStatus.SUCCESS)
        threshold = limit_threshold(self._alpha)
        latency = self._tally.latency
        if (
            (self._errors and self._errors.reaches(threshold))
            or (self._failures and self._failures.reaches(threshold))
            or (latency and latency.value() >= threshold)
            or (self._limits.max_error_rate == 0 and self._tally.errors)
            or (self._limits.min_success_rate == 1 and self._tally.not_successes)
        ):
            return first_crossed(read_limits(self._limits, self._tally, self._alpha))
        return None


def _evidence_against(rate: Fraction | None) -> LimitEvidence | None:
    return LimitEvidence.start(rate) if rate is not None and 0 < rate < 1 else None


def read_watch(tally: OutcomeTally, limit_per_mille: int) -> LimitReading:
    """The watch over main: F(failures, successes; q0) against 80, with q0 = `limit_per_mille` / 1000.

    Args:
        tally: outcomes of tasks begun on the commits in the watch.
        limit_per_mille: upper limit of the failure rate before them, see `intervals.failure_limit_per_mille`.
    """
    what = (
        f"{tally.not_successes} failures in {tally.tasks} tasks since the last good commit, "
        f"at most {_decimal(Fraction(limit_per_mille, 1000))} expected"
    )
    limit = Fraction(limit_per_mille, 1000)
    return _read_rate("watch", tally.not_successes, tally.successes, limit, WATCH_THRESHOLD, what)


def _read_rate(
    name: str, events: int, non_events: int, limit: Fraction, threshold: Fraction, what: str
) -> LimitReading:
    if limit >= 1:
        return LimitReading(name, False, Fraction(1, non_events + 1), threshold, f"{what}: cannot be broken")
    if limit <= 0:
        crossed = events > 0
        return LimitReading(name, crossed, None, threshold, f"{what}: one is {'proof' if crossed else 'too many'}")
    evidence = LimitEvidence.of(events, non_events, limit)
    crossed = evidence.reaches(threshold)
    return LimitReading(name, crossed, evidence.value(), threshold, _compared(what, evidence.value(), threshold))


def _read_latency(product: LatencyProduct, threshold: Fraction) -> LimitReading:
    value = product.value()
    mean_ms = product.total_us // product.tasks // 1000 if product.tasks else 0
    what = (
        f"mean time {mean_ms} ms (clipped at {product.clip_us // 1000} ms) in {product.tasks} tasks, "
        f"allowed {product.max_response_time_us // 1000} ms"
    )
    return LimitReading("response_time", value >= threshold, value, threshold, _compared(what, value, threshold))


def _compared(what: str, value: Fraction, threshold: Fraction) -> str:
    sign = ">=" if value >= threshold else "<"
    return f"{what}: evidence {approximate(value):.4g} {sign} {approximate(threshold):.4g}"


def _decimal(rate: Fraction) -> str:
    return f"{approximate(rate):.4g}"
