"""The drop detector: notices that an agent fails more often than it used to, and rarely cries wolf.

A mixture Shiryaev-Roberts detector in whole numbers. With S = 2^32, u = the failure limit in thousandths and
a state M per k in {1, 2, 4, 8}, each step rounded down:

    failure:  M <- (M + S) (16 u + k (1000 - u)) / (16 u)
    success:  M <- (M + S) (16 - k) / 16

The alarm sounds at sum(M) >= 4 h S. As long as P(failure | past) <= u/1000, the mean time between false
alarms is at least h outcomes; rounding down only makes it longer. Source: design notes, section "Performance
drop".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from pydantic import JsonValue

from decision_engine.intervals import failure_limit_per_mille

ALARM_AT_MEAN = 1_000
"""Outcomes between false alarms, at least, in the mean: what starts an experiment."""
ALARM_AT_MEAN_TO_ACT = 10_000
"""The same where the alarm rolls main back."""
BASELINE_SAMPLES = 300
MIN_BASELINE_SAMPLES = 100

_SCALE = 1 << 32
_BETS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class DropDetector:
    """The detector after `samples` outcomes; `limit_per_mille` is u, `alarm_at_mean` is h."""

    limit_per_mille: int
    alarm_at_mean: int = ALARM_AT_MEAN
    state: tuple[int, int, int, int] = (0, 0, 0, 0)
    samples: int = 0
    failures: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.limit_per_mille <= 1000:
            raise ValueError(f"limit_per_mille lies between 1 and 1000; got {self.limit_per_mille}")
        if self.alarm_at_mean < 1:
            raise ValueError(f"alarm_at_mean is at least 1; got {self.alarm_at_mean}")

    @property
    def total(self) -> int:
        """The sum of the four states; the alarm sounds at `alarm_total`."""
        return sum(self.state)

    @property
    def alarm_total(self) -> int:
        """4 h S."""
        return 4 * self.alarm_at_mean * _SCALE

    @property
    def alarmed(self) -> bool:
        """Whether the alarm sounds after the latest outcome."""
        return self.total >= self.alarm_total

    @property
    def reason(self) -> str:
        """The state in words."""
        strength = self.total * 1000 // self.alarm_total
        return (
            f"{self.failures} failures in {self.samples} outcomes since counting began, "
            f"at most {self.limit_per_mille / 10:g} % expected: {strength / 1000:.3g} times the alarm level"
        )

    def after(self, failure: bool) -> DropDetector:
        """The detector after one more outcome; every outcome that is not a success is a failure."""
        u = self.limit_per_mille
        if failure:
            one, two, four, eight = (
                (m + _SCALE) * (16 * u + k * (1000 - u)) // (16 * u) for m, k in zip(self.state, _BETS, strict=True)
            )
        else:
            one, two, four, eight = ((m + _SCALE) * (16 - k) // 16 for m, k in zip(self.state, _BETS, strict=True))
        return replace(
            self,
            state=(one, two, four, eight),
            samples=self.samples + 1,
            failures=self.failures + failure,
        )

    def restarted(self) -> DropDetector:
        """The same detector without its past, as after an alarm that was acted on."""
        return DropDetector(self.limit_per_mille, self.alarm_at_mean)

    def figures(self) -> dict[str, JsonValue]:
        """As a decision shows it; the exact state as text, because readers of JSON round large numbers."""
        shown: list[JsonValue] = [str(number) for number in self.state]
        return {
            "limit_per_mille": self.limit_per_mille,
            "alarm_at_mean": self.alarm_at_mean,
            "state": shown,
            "samples": self.samples,
            "failures": self.failures,
        }


def limit_from_baseline(failures: int, samples: int) -> int:
    """u from the first outcomes after the good mark: their upper 95 % limit, in thousandths.

    Raises:
        ValueError: fewer than 100 samples, or more failures than samples.
    """
    if samples < MIN_BASELINE_SAMPLES:
        raise ValueError(f"a baseline is at least {MIN_BASELINE_SAMPLES} outcomes; got {samples}")
    return failure_limit_per_mille(failures, samples)


def limit_from_threshold(threshold: Fraction) -> int:
    """u from a literal success rate: 1000 (1 - threshold), rounded up to whole thousandths and at least 1.

    Rounding up makes the limit more lenient, so the time between false alarms holds.

    Raises:
        ValueError: `threshold` is not a rate.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold is a success rate between 0 and 1; got {threshold}")
    return max(1, ceil(1000 * (1 - threshold)))
