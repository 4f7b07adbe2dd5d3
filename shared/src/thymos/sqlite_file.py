"""An SQLite file as the place of a store."""

from dataclasses import dataclass
from pathlib import Path

from thymos.database import SqliteConnection, open_sqlite

PRAGMAS = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA foreign_keys=ON;
PRAGMA secure_delete=ON;
"""
"""Commits are on the disk when they return, and what is deleted is overwritten: what a memory held can be erased."""


@dataclass(frozen=True)
class SqliteFile:
    """A file, or ":memory:"."""

    path: Path | str

    def opened(self, *, busy_seconds: float = 5.0, any_thread: bool = False) -> SqliteConnection:
        """A connection whose commits are on the disk when they return. Raises sqlite3.Error."""
        connection = open_sqlite(self.path, busy_seconds=busy_seconds, any_thread=any_thread)
        try:
            connection.executescript(PRAGMAS)
        except BaseException:
            connection.close()
            raise
        return connection
