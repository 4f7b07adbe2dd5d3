"""The criteria of `thymos.toml` as the evidence reads them: exact fractions and whole microseconds."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

from decision_engine.criteria import SuccessCriteria
from decision_engine.limits import FailureLimits
from thymos import config


def success_criteria(configured: config.SuccessCriteria) -> SuccessCriteria:
    """What a challenger must reach; `min_pairs` is not among it, see `EvidencePlan.min_pairs`."""
    reduction = configured.min_failure_reduction
    return SuccessCriteria(
        min_success_rate=Fraction(configured.min_success_rate),
        max_error_rate=Fraction(configured.max_error_rate),
        max_response_time_us=microseconds(configured.max_response_time),
        min_improvement=Fraction(configured.min_improvement),
        min_failure_reduction=None if reduction is None else Fraction(reduction),
    )


def failure_limits(configured: config.FailureCriteria) -> FailureLimits:
    """What no arm may do."""
    return FailureLimits(
        max_error_rate=Fraction(configured.max_error_rate),
        min_success_rate=Fraction(configured.min_success_rate),
        max_response_time_us=microseconds(configured.max_response_time),
    )


def microseconds(duration: timedelta) -> int:
    """Whole microseconds."""
    return duration // timedelta(microseconds=1)
