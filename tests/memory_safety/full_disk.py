"""A full disk: an operation that finds no room changes nothing, the store verifies, and works on when there is room."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

from thymos.sqlite_file import SqliteFile

from .life import Life, Rows, found, rows

STEPS: Final = 60
ROOM_MAX_PAGES: Final = 2
PAGES: Final = 1_000_000
FRAME_BYTES: Final = 4_120
"""A page in the log beside the file, where a transaction is written first."""
ROOM_MAX_FRAMES: Final = 8
NO_ROOM: Final = ("database or disk is full", "disk I/O error", "unable to open database file")
SEVERAL: Final = ("gc", "redact")
"""What they drop is dropped by their first transactions, and erased by the last: called again, they go on with that."""


def fill(seed: int, folder: Path) -> dict[str, int]:
    """One life with room for little: for some pages more of the file, or for some bytes more of any file that it
    writes, so that whatever an operation writes may be what fails. How often each operation found no room.

    Each operation that failed is done again with room, and must then be what it is in a life on an endless disk.
    """
    life, true = Life(folder / "full.db", seed, durable=False), Life(folder / "true.db", seed, durable=False)
    failed: dict[str, int] = {}
    for _ in range(STEPS):
        before, step = rows(life.connection), None
        choose = Random(f"room {seed}/{life.done}")
        try:
            with _few_pages(life, choose) if choose.random() < 0.5 else _few_bytes(life, choose):
                step = life.step()
        except sqlite3.OperationalError as said:
            if not any(words in str(said) for words in NO_ROOM):
                raise
            left = _rows(life.path)
        wanted = true.step()
        after = rows(true.connection)
        if step is None:
            name = wanted.operation
            assert left == before or (name in SEVERAL and left == after), f"seed {seed}: {wanted} left half of it"
            if name == "reopen":
                life.reopen()
            assert not life.memory.verify().problems, f"seed {seed}: {wanted} found no room"
            step = life.step()
            failed[name] = failed.get(name, 0) + 1
        assert step == wanted, f"seed {seed}: with room, {step} is something else"
        assert rows(life.connection) == after, f"seed {seed}: after {step}"
    assert found(life.memory) == found(true.memory), f"seed {seed}: the index finds something else"
    life.close()
    true.close()
    return failed


def _rows(path: Path) -> Rows:
    """What is in the file, as whoever opens it finds it."""
    connection = SqliteFile(path).opened()
    try:
        return rows(connection)
    finally:
        connection.close()


@contextmanager
def _few_pages(life: Life, choose: Random) -> Iterator[None]:
    """The file may have some pages more: what SQLite says of a full disk."""
    connection = life.connection
    pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + choose.randrange(ROOM_MAX_PAGES)}").fetchone()
    try:
        yield
    finally:
        with suppress(sqlite3.ProgrammingError):  # it was closed meanwhile
            connection.execute(f"PRAGMA max_page_count = {PAGES}").fetchone()


@contextmanager
def _few_bytes(life: Life, choose: Random) -> Iterator[None]:
    """No file may be written beyond some frames after the end of the log: the operating system refuses."""
    log = life.path.with_name(f"{life.path.name}-wal")
    room = (log.stat().st_size if log.exists() else 0) + choose.randrange(ROOM_MAX_FRAMES) * FRAME_BYTES
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
