"""The service's side of a backup, on the bus in memory: what is held back, and what a copy holds."""

import asyncio
import base64
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from thymos import events, subjects
from thymos.background import running
from thymos.backup.copies import Copies
from thymos.backup.requests import BackupRequest, CopyPart
from thymos.errors import Refusal, TransientError
from thymos.testing import MemoryBus
from thymos.unit_of_work import ServiceStore, Transaction

SCHEMA = "CREATE TABLE IF NOT EXISTS notes(number INTEGER PRIMARY KEY, text TEXT)"


class Rig:
    """A store that publishes what it notes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bus = MemoryBus()
        self.store = ServiceStore(folder / "s.db", subjects.MEMORY_REPOSITORY, SCHEMA)
        self.copies = Copies(self.store, self.bus)

    async def note(self, text: str = "") -> None:
        def work(tx: Transaction) -> None:
            tx.connection.execute("INSERT INTO notes(text) VALUES (?)", (text,))
            deleted = events.BranchDeleted(branch="b", from_commit="c", reason="test")
            tx.publish(deleted, tenant="acme", agent="support")

        await self.store.tick("note", work)

    async def ask(self, step: str, token: str = "one", offset: int = 0) -> CopyPart:
        return await self.copies.answer(BackupRequest.model_validate({"step": step, "token": token, "offset": offset}))

    async def copy(self, token: str = "one") -> Path:
        """The whole copy as a file."""
        body = b""
        async with asyncio.timeout(20):
            while (part := await self.ask("read", token, len(body))).total is None or len(body) < part.total:
                body += base64.b64decode(part.data)
                await asyncio.sleep(0.01)
        path = self.folder / "received.db"
        path.write_bytes(body)
        return path

    async def published(self, count: int) -> None:
        async with asyncio.timeout(20):
            while await self.bus.last_sequence(subjects.EVENTS) < count:
                await asyncio.sleep(0.01)


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    async with running(made.store.run_relay(made.bus)):
        yield made
        await made.copies.close()
    await made.store.close()


async def pinned(rig: Rig) -> Path:
    await rig.ask("pin")
    return await rig.copy()


async def test_while_it_is_held_work_goes_on_and_nothing_is_published(rig: Rig) -> None:
    await rig.note()
    await rig.ask("hold")
    await rig.note()
    await rig.ask("renew")
    assert await rig.bus.last_sequence(subjects.EVENTS) == 1
    await rig.ask("pin")
    await rig.ask("release")
    await rig.published(2)
    copy = await rig.copy()
    assert (rows(copy, "notes"), rows(copy, "outbox")) == (2, 1), "what the log did not have is in the outbox"


async def test_what_happens_after_the_pin_is_not_in_the_copy(rig: Rig) -> None:
    await rig.note("x" * 1_000_000)
    await rig.ask("hold")
    await rig.ask("pin")
    await rig.ask("release")
    for _ in range(20):
        await rig.note()
    await rig.published(21)
    assert rows(await rig.copy(), "notes") == 1


async def test_the_oldest_of_the_outbox_is_published_before_it_is_held(rig: Rig) -> None:
    """A process that was killed may have published them: they must not be said again after a restore."""
    rig.bus.stop()
    await rig.note()
    with pytest.raises(TransientError):
        await rig.ask("hold")
    rig.bus.start()
    await rig.ask("hold")
    assert await rig.bus.last_sequence(subjects.EVENTS) == 1


async def test_a_backup_that_falls_silent_holds_nothing_up(rig: Rig) -> None:
    rig.copies = Copies(rig.store, rig.bus, hold_seconds=0.05, copy_seconds=0.05)
    await rig.ask("hold")
    await rig.ask("pin")
    await rig.note()
    await rig.published(1)
    with pytest.raises(Refusal, match="has not held back what it publishes all the time"):
        await rig.ask("release")
    async with asyncio.timeout(20):
        while list(rig.folder.glob("*.copy")):
            await asyncio.sleep(0.01)
    with pytest.raises(Refusal, match="has no copy of its store for this backup"):
        await rig.ask("read")


async def test_one_backup_at_a_time(rig: Rig) -> None:
    await rig.ask("hold", "one")
    with pytest.raises(Refusal, match="another backup is being taken") as caught:
        await rig.ask("hold", "two")
    assert caught.value.code == "conflict"
    with pytest.raises(Refusal):
        await rig.ask("release", "two")
    await rig.ask("release", "one")
    await rig.ask("hold", "two")


async def test_a_service_that_was_started_again_knows_of_no_backup(rig: Rig) -> None:
    await rig.ask("hold")
    await rig.ask("pin")
    await rig.ask("release")
    await rig.copy()
    (rig.folder / "s.db.one.copy-journal").touch()  # SQLite's own, when it is killed while it copies
    rig.copies = Copies(rig.store, rig.bus)
    assert not list(rig.folder.glob("*.copy*")), "what the last one left is gone"
    for step in ("renew", "pin", "release", "read", "end"):
        with pytest.raises(Refusal, match="was it started again"):
            await rig.ask(step)


async def test_a_copy_that_cannot_be_written_is_said(rig: Rig) -> None:
    (rig.folder / "s.db.one.copy").mkdir()
    await rig.ask("hold")
    with pytest.raises(Refusal, match="store cannot be written beside it"):
        await pinned(rig)
    (rig.folder / "s.db.one.copy").rmdir()


async def test_at_its_end_the_service_publishes_what_was_held(rig: Rig) -> None:
    await rig.ask("hold")
    await rig.note()
    await rig.copies.close()
    await rig.published(1)
