"""Event time as whole microseconds since 1970 UTC: exact, ordered, and cheap to compare."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

SECOND_US = 1_000_000
"""Microseconds in a second."""


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware `moment`. Raises TypeError for a naive one."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(at_us: int) -> datetime:
    """The aware UTC moment of `at_us` microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=at_us)
