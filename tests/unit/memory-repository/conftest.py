"""A repository in memory whose clock moves on by a second with every look at it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from memory_repository import MemoryRepository

START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def ticking() -> Callable[[], datetime]:
    """A clock that is a second later at every look."""
    now = START

    def clock() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)
        return now

    return clock


@pytest.fixture
def memory() -> Iterator[MemoryRepository]:
    """An empty repository."""
    with MemoryRepository.open("sqlite://", tenant="acme", agent="support", author="test", clock=ticking()) as opened:
        yield opened
