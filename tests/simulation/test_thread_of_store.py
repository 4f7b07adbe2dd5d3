"""Work of a store that is cut off in the middle: whether it is said to have committed agrees with the file, always."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from thymos.database import open_sqlite
from thymos.unit_of_work import Cause, ServiceStore, Transaction

from . import thread_of_store, virtual_time
from .faults import WITHIN, Faults
from .thread_of_store import StoreThread
from .virtual_time import Owner

SCHEMA = "CREATE TABLE IF NOT EXISTS kept(name TEXT)"
LOOKS_MAX = 400


class Latest(Random):
    """Always draws what is cut off the latest."""

    def random(self) -> float:
        return 1.0


def killed_after(looks: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool]:
    """Whether the store's process was killed within its transaction, and whether that was said to have committed."""
    monkeypatch.setattr(thread_of_store, "LOOKS_MAX", looks)
    said: list[bool] = []

    def work(tx: Transaction) -> bytes:
        tx.connection.execute("INSERT INTO kept VALUES ('x')")
        return b"done"

    async def main() -> bool:
        faults, owner = Faults(Latest()), Owner("store")
        thread = StoreThread(owner, faults, lambda _, well: said.append(well))
        store = owner.context.run(lambda: ServiceStore(path, "store", SCHEMA, owner.now, thread))
        faults.arm("store", f"{WITHIN} answer")
        answering = owner.start(store.answer(Cause("a request", "acme", "support"), None, work))
        await asyncio.wait({answering}, timeout=1.0)
        killed = owner.dead
        owner.kill()
        return killed

    return virtual_time.run(main), said[0]


def test_what_is_said_to_have_committed_is_what_the_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_of_store, "INSTRUCTIONS", 1)
    for looks in range(1, LOOKS_MAX):
        path = tmp_path / f"{looks}.db"

        killed, said = killed_after(looks, path, monkeypatch)

        with closing(open_sqlite(path)) as connection:
            (kept,) = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert said == bool(kept), f"killed after {looks} looks"
        if not killed:
            break
    assert 10 < looks < LOOKS_MAX - 1, "killed at each point, and then at none"
