"""Exact means and quantiles over a bounded window."""

from collections.abc import Iterable, Sequence
from math import fsum

from thymos.metrics import Durations


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean, rounded once, hence the same in any order; None of nothing."""
    return fsum(values) / len(values) if values else None


def quantile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest-rank quantile: the smallest value with at least `percent` % of the values at or below it.

    It is one of the values (nothing is interpolated), so it is exact. `ordered` is ascending; None of
    nothing.
    """
    if not ordered:
        return None
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]


def durations(values_ms: Iterable[float]) -> Durations:
    """Mean, p50, p95 and p99 of durations in milliseconds."""
    ordered = sorted(values_ms)
    return Durations(
        mean_ms=mean(ordered),
        p50_ms=quantile(ordered, 50),
        p95_ms=quantile(ordered, 95),
        p99_ms=quantile(ordered, 99),
    )
