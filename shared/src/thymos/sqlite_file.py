"""An SQLite file as the place of a store, and in which words a service says that it cannot be used."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from thymos.database import Connection, SqliteConnection, open_sqlite
from thymos.errors import StoreUnavailableError

BUSY_SECONDS = 5.0
"""How long a statement waits for another process that holds the file."""
READ_BUSY_SECONDS = 1.0
FREE_BYTES_MIN = 1024 * 1024
"""With less room than this a disk counts as full, before anything fails on it."""
PROBE_BYTES = 64 * 1024
"""What a store that failed must take before it counts as mended."""
MEMORY = ":memory:"

_WAIT = "it is tried again"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: f"another process holds it; {_WAIT}",
    sqlite3.SQLITE_LOCKED: f"another process holds it; {_WAIT}",
    sqlite3.SQLITE_NOMEM: "the machine has no memory left",
    sqlite3.SQLITE_READONLY: "give the service the right to write it",
    sqlite3.SQLITE_INTERRUPT: _WAIT,
    sqlite3.SQLITE_IOERR: "see whether its disk is full or damaged",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_CANTOPEN: "see whether its disk is full, and give the service the right to write it",
    sqlite3.SQLITE_PROTOCOL: f"another process holds it; {_WAIT}",
    sqlite3.SQLITE_NOTADB: "the file is damaged: restore it from a backup",
}
"""What is the file's or the disk's fault, not that of the work, and what to do about it."""

PRAGMAS = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA foreign_keys=ON;
PRAGMA secure_delete=ON;
"""
"""Commits are on the disk when they return, and what is deleted is overwritten: what a memory held can be erased."""


@dataclass(frozen=True)
class SqliteFile:
    """See `thymos.database.Database`. A file, or one in memory (`MEMORY`)."""

    path: Path | str
    shared = False
    errors = (sqlite3.DatabaseError,)

    @property
    def name(self) -> str:
        """See `Database`."""
        return Path(self.path).name

    def opened(self, *, busy_seconds: float = BUSY_SECONDS, any_thread: bool = False) -> SqliteConnection:
        """See `Database`: its folder is created, and its commits are on the disk when they return.

        Raises sqlite3.Error, and StoreUnavailableError where the folder cannot be made.
        """
        if isinstance(self.path, Path):
            self._make_folder(self.path.parent)
        connection = open_sqlite(self.path, busy_seconds=busy_seconds, any_thread=any_thread)
        try:
            connection.executescript(PRAGMAS)
        except BaseException:
            connection.close()
            raise
        return connection

    def opened_to_read(self) -> SqliteConnection:
        """See `Database`."""
        url = f"{Path(self.path).absolute().as_uri()}?mode=ro"
        return open_sqlite(url, uri=True, busy_seconds=READ_BUSY_SECONDS)

    def unavailable(self, error: Exception) -> StoreUnavailableError | None:
        """See `Database`."""
        if isinstance(error, OSError):
            remedy: str | None = "see whether its disk is full, and whether the service may write there"
        else:
            remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if remedy is None:
            return None
        return StoreUnavailableError(f"the store {self.name} cannot be used right now: {error}: {remedy}")

    def finding(self) -> str:
        """See `Database`: the disk is full."""
        try:
            disk = os.statvfs(Path(self.path).parent)
        except OSError:
            return ""
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes >= FREE_BYTES_MIN:
            return ""
        return f"the disk that holds {self.name} is full ({free_bytes} bytes are free): make room there"

    def ask(self, connection: Connection) -> None:
        """See `Database`: a file does not go away."""

    def probe(self, connection: Connection) -> None:
        """See `Database`: as much as an ordinary transaction writes."""
        for statement in (f"INSERT INTO probe VALUES (zeroblob({PROBE_BYTES}))", "DELETE FROM probe"):
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(statement)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def size_bytes(self, connection: Connection) -> int:
        """See `Database`."""
        del connection
        return Path(self.path).stat().st_size

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.unavailable(error) or error from error
