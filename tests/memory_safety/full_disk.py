"""A full disk: an operation that finds no room changes nothing, the store verifies, and works on when there is room."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random
from typing import Final

from .life import Life, found, rows

STEPS: Final = 60
ROOM_MAX_PAGES: Final = 2
PAGES: Final = 1_000_000


def fill(seed: int, folder: Path) -> dict[str, int]:
    """One life in which the file may grow by some pages only, again and again; how often each operation found no room.

    Each operation that failed is done again with room, and must then be what it is in a life on an endless disk.
    """
    life, true = Life(folder / "full.db", seed, durable=False), Life(folder / "true.db", seed, durable=False)
    failed: dict[str, int] = {}
    for _ in range(STEPS):
        done = life.done
        before = rows(life.connection)
        _limit(life, _pages(life) + Random(f"room {seed}/{done}").randrange(ROOM_MAX_PAGES))
        try:
            step = life.step()
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            assert rows(life.connection) == before, f"seed {seed}: operation {done + 1} left half of it"
            assert not life.memory.verify().problems, f"seed {seed}: after operation {done + 1}"
            _limit(life, PAGES)
            step = life.step()
            failed[step.operation] = failed.get(step.operation, 0) + 1
        assert step == true.step(), f"seed {seed}: with room, {step} is something else"
        assert rows(life.connection) == rows(true.connection), f"seed {seed}: after {step}"
    assert found(life.memory) == found(true.memory), f"seed {seed}: the index finds something else"
    life.close()
    true.close()
    return failed


def _pages(life: Life) -> int:
    pages: int = life.connection.execute("PRAGMA page_count").fetchone()[0]
    return pages


def _limit(life: Life, pages: int) -> None:
    life.connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
