"""What a service says of a store and of a bus that are away: each for itself, and once."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from thymos.bus import Bus
from thymos.events import BranchDeleted
from thymos.testing import MemoryBus
from thymos.unit_of_work import ServiceStore

pytestmark = pytest.mark.sqlite


@asynccontextmanager
async def relaying(store: ServiceStore, bus: Bus) -> AsyncIterator[None]:
    """A service that has something to publish."""
    deleted = BranchDeleted(branch="tryout", from_commit="c1")
    await store.tick("delete", lambda tx: tx.publish(deleted, tenant="acme", agent="support"))
    relay = asyncio.create_task(store.run_relay(bus, timedelta(milliseconds=1)))
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay
        await store.close()


async def test_a_store_that_cannot_be_written_is_one_finding_and_none_about_the_bus(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "store.db", "memory-repository")
    await store.run(lambda: store._connection.execute("PRAGMA busy_timeout = 0"))
    bus = MemoryBus()
    bus.up = False
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        async with relaying(store, bus):
            other.execute("BEGIN EXCLUSIVE")
            bus.up = True  # what is published cannot be taken out of the store
            await asyncio.sleep(0.05)
            store.problem = "asked anew"
            (finding,) = await store.findings()
            assert finding.startswith("the store ")
            other.execute("ROLLBACK")


async def test_a_bus_that_takes_nothing_is_a_finding(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "store.db", "memory-repository")
    bus = MemoryBus()
    bus.up = False
    async with relaying(store, bus):
        (finding,) = await store.findings()
        assert finding.startswith("what it has to publish waits for the bus: ")
