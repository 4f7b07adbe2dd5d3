"""Repositories whose clock moves on by a second with every look at it, on the engine that THYMOS_TEST_ENGINE names.

The tests are those of every engine. Here they run on SQLite; tests/contract/test_memory_engines.py runs those that ask
for `memory`, `store_url` or `connect` again on PostgreSQL. What is about SQLite itself is marked `sqlite`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memory_repository import MemoryRepository
from memory_repository.storage import store
from thymos.database import Connection, open_postgresql, open_sqlite

START = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
ENGINE = os.environ.get("THYMOS_TEST_ENGINE", "sqlite")
STORES = {"memory", "store_url", "connect"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On another engine, only what is about the engine runs."""
    if ENGINE == "sqlite":
        return
    wanted = {item for item in items if STORES.intersection(getattr(item, "fixturenames", ()))}
    wanted -= {item for item in wanted if item.get_closest_marker("sqlite")}
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = [item for item in items if item in wanted]


def ticking() -> Callable[[], datetime]:
    """A clock that is a second later at every look."""
    now = START

    def clock() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)
        return now

    return clock


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty store that may be opened more than once."""
    if ENGINE == "sqlite":
        return f"sqlite:///{tmp_path}/memory.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[], Connection]]:
    """Connects to a new, empty store, with its tables; one connection at a time."""
    with ExitStack() as opened:

        def connected() -> Connection:
            opened.close()
            if ENGINE == "sqlite":
                db: Connection = open_sqlite(":memory:")
            else:
                request.getfixturevalue("postgresql_wiped")()
                db = open_postgresql(str(request.getfixturevalue("postgresql_url")))
            opened.callback(db.close)
            if ENGINE == "sqlite":
                db.executescript("PRAGMA foreign_keys = ON;")
            db.executescript(store.SCHEMA)
            return db

        yield connected


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Iterator[MemoryRepository]:
    """An empty repository."""
    url = "sqlite://" if ENGINE == "sqlite" else str(request.getfixturevalue("postgresql_url"))
    with MemoryRepository.open(url, tenant="acme", agent="support", author="test", clock=ticking()) as opened:
        yield opened
