"""A repository whose clock moves on by a second with every look at it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from memory_repository import MemoryRepository
from memory_repository.storage import store
from thymos.database import Connection

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
def connect(connect_to: Callable[[str], Connection]) -> Callable[[], Connection]:
    """Connects to a new, empty store, with its tables; one connection at a time."""
    return lambda: connect_to(store.SCHEMA)


@pytest.fixture
def memory(store_url: str) -> Iterator[MemoryRepository]:
    """An empty repository, on the engine under test (tests/conftest.py)."""
    url = "sqlite://" if store_url.startswith("sqlite") else store_url  # in memory, which is faster
    with MemoryRepository.open(url, tenant="acme", agent="support", author="test", clock=ticking()) as opened:
        yield opened
