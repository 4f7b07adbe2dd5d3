"""The one e-value behind every decision: F(x, y; q), exact.

For x events and y non-events, n = x + y, against the limit q = a/b, with c = b - a:

    F(x, y; q) = sum_{k=0..x} C(n+1, k) a^k c^(n+1-k)  /  ((n+1) C(n, x) a^x c^(y+1))

F is the uniform mixture of all bets that events come more often than q, so it is an e-value against
"P(event | past) <= q": whoever looks after every outcome sees it reach 1/alpha with probability at most alpha
(Ville). E(w, l) = F(w, l; 1/2) is the paired sign e-process. Source: design notes, section "Evidence".

Everything is whole numbers. The recursions are unstable in floating point, and a decision has to come out the
same on every machine and at every replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import comb

HALF = Fraction(1, 2)
_MOST_PLACES = 400
_LARGEST_FLOAT = Fraction(2) ** 1023


@dataclass(frozen=True, slots=True)
class LimitEvidence:
    """F(events, non_events; limit), ready for one more outcome at the cost of a few multiplications.

    With N = n + 1, `tail` is sum_{k<=x} C(N, k) a^k c^(N-k) and `weight` is C(n, x) a^x c^y, so that
    F = tail / (N c weight). One step, from C(N+1, k) = C(N, k) + C(N, k-1):

        event:      weight' = weight a N / (x+1),   tail' = b tail + c weight'
        non-event:  weight' = weight c N / (y+1),   tail' = b tail - a weight'

    Build it with `start` or `of`.
    """

    limit: Fraction
    events: int
    non_events: int
    tail: int
    weight: int

    @classmethod
    def start(cls, limit: Fraction) -> LimitEvidence:
        """No outcome yet: F = 1.

        Raises:
            ValueError: `limit` is not strictly between 0 and 1.
        """
        if not 0 < limit < 1:
            raise ValueError(f"a limit lies strictly between 0 and 1; got {limit}")
        return cls(limit, 0, 0, limit.denominator - limit.numerator, 1)

    @classmethod
    def of(cls, events: int, non_events: int, limit: Fraction) -> LimitEvidence:
        """The evidence after `events` and `non_events` outcomes, from the closed sum.

        Raises:
            ValueError: a count is negative, or `limit` is not strictly between 0 and 1.
        """
        if events < 0 or non_events < 0:
            raise ValueError(f"counts are never negative; got {events} and {non_events}")
        if not 0 < limit < 1:
            raise ValueError(f"a limit lies strictly between 0 and 1; got {limit}")
        return _closed_form(events, non_events, limit)

    def after(self, event: bool) -> LimitEvidence:
        """The evidence after one more outcome."""
        a, b = self.limit.numerator, self.limit.denominator
        c = b - a
        total = self.events + self.non_events + 1
        if event:
            weight = self.weight * a * total // (self.events + 1)
            tail = b * self.tail + c * weight
            return LimitEvidence(self.limit, self.events + 1, self.non_events, tail, weight)
        weight = self.weight * c * total // (self.non_events + 1)
        tail = b * self.tail - a * weight
        return LimitEvidence(self.limit, self.events, self.non_events + 1, tail, weight)

    def reaches(self, threshold: Fraction) -> bool:
        """Whether F >= threshold, without reducing a fraction of thousands of digits."""
        return self.tail * threshold.denominator >= threshold.numerator * self._divisor()

    def value(self) -> Fraction:
        """F, in lowest terms."""
        return Fraction(self.tail, self._divisor())

    def _divisor(self) -> int:
        n = self.events + self.non_events
        return (n + 1) * self.weight * (self.limit.denominator - self.limit.numerator)


@lru_cache(maxsize=4096)
def _closed_form(events: int, non_events: int, limit: Fraction) -> LimitEvidence:
    a, b = limit.numerator, limit.denominator
    c = b - a
    total = events + non_events + 1
    weight = comb(total - 1, events) * a**events * c**non_events
    # The term of k = events is C(N, x) a^x c^(N-x); each of its neighbours follows by one exact division.
    term = weight * total * c // (non_events + 1)
    if 2 * events <= total:
        tail = term
        for k in range(events, 0, -1):
            term = term * k * c // ((total - k + 1) * a)
            tail += term
    else:
        tail = b**total
        for k in range(events + 1, total + 1):
            term = term * (total - k + 1) * a // (k * c)
            tail -= term
    return LimitEvidence(limit, events, non_events, tail, weight)


def limit_e_value(events: int, non_events: int, limit: Fraction) -> Fraction:
    """F(events, non_events; limit), an e-value against P(event | past) <= limit.

    Raises:
        ValueError: a count is negative, or `limit` is not strictly between 0 and 1.
    """
    return LimitEvidence.of(events, non_events, limit).value()


def sign_evidence(wins: int, losses: int) -> LimitEvidence:
    """The paired sign e-process after `wins` and `losses`; ties are not counted.

    Raises:
        ValueError: a count is negative.
    """
    return LimitEvidence.of(wins, losses, HALF)


def sign_e_value(wins: int, losses: int) -> Fraction:
    """E(wins, losses) = F(wins, losses; 1/2), evidence against "at most half the discordant pairs are wins".

    Raises:
        ValueError: a count is negative.
    """
    return sign_evidence(wins, losses).value()


def balance_e_value(left: int, right: int) -> Fraction:
    """Evidence that two counts are not equally likely: (E(left, right) + E(right, left)) / 2.

    With n = left + right it is 2^n / ((n+1) C(n, left)). The sample-ratio check: at 1,000 the comparison of
    the two sides is invalid.

    Raises:
        ValueError: a count is negative.
    """
    if left < 0 or right < 0:
        raise ValueError(f"counts are never negative; got {left} and {right}")
    n = left + right
    return Fraction(2**n, (n + 1) * comb(n, left))


def exact(number: int | float | str | Decimal | Fraction) -> Fraction:
    """A number as it was written: 0.1 is one tenth, not the nearest binary fraction.

    A float is read through its shortest decimal form, which is what a TOML or CSV file said. Text may be "n/d".

    Raises:
        ValueError: `number` is not a finite number, or has more than 400 places: 1e999999999 is short to write and
            fills the memory when made exact.
    """
    try:
        if isinstance(number, int | Fraction):
            return Fraction(number)
        said = repr(number) if isinstance(number, float) else number
        if isinstance(said, str) and "/" in said:
            return Fraction(said)
        decimal = Decimal(said)
        _, digits, exponent = decimal.as_tuple()
        if not isinstance(exponent, int) or len(digits) > _MOST_PLACES or abs(exponent) > _MOST_PLACES:
            raise ValueError
        return Fraction(decimal)
    except (ValueError, ArithmeticError):
        raise ValueError(f"not a finite number: {number!r}") from None


def ratio_text(value: Fraction) -> str:
    """A fraction as "n/d", always with its denominator.

    Through Decimal, because Python refuses to print integers of more than 4,300 digits and an e-value may
    have more.
    """
    return f"{Decimal(value.numerator):f}/{Decimal(value.denominator):f}"


def approximate(value: Fraction) -> float:
    """The nearest float, for showing; values beyond the floats are shown as the largest power of two."""
    return float(min(value, _LARGEST_FLOAT))
