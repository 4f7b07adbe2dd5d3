"""The floor: bare SQLite with the same rows and the same index of words, and no history, branches or checks at all.

A branch is one row; a commit, a merge or a rollback changes the rows that differ, in one transaction; a difference
reads them twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from .workload import PAGE, Changed, NotOffered, Record

SCHEMA = """
CREATE TABLE IF NOT EXISTS memory (
    no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT, kind TEXT, topic TEXT, importance INTEGER);
CREATE TABLE IF NOT EXISTS name (name TEXT PRIMARY KEY);
CREATE VIRTUAL TABLE IF NOT EXISTS memory_words USING fts5 (content, content = 'memory', content_rowid = 'no');
"""


class Sqlite:
    """Rows in a file; what branches differ in is kept in memory, not stored."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "floor.db"
        self._db = self._opened()
        self._branches: dict[str, Sequence[Record]] = {}
        self._undo: list[tuple[str, str]] = []

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + SCHEMA)
        return db

    def about(self) -> str:
        """See Peer."""
        return f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL, FTS5; no history, no branches: the floor"

    def load(self, records: Sequence[Record]) -> None:
        """See Peer."""
        sql = "INSERT INTO memory (id, content, kind, topic, importance) VALUES (?, ?, ?, ?, ?) RETURNING no"
        self._db.execute("BEGIN IMMEDIATE")
        for r in records:
            (no,) = self._db.execute(sql, (r.id, r.content, r.kind, r.topic, r.importance)).fetchone()
            self._db.execute("INSERT INTO memory_words (rowid, content) VALUES (?, ?)", (no, r.content))
        self._db.execute("COMMIT")

    def settle(self) -> None:
        """See Peer."""
        self._db.close()
        self._db = self._opened()

    def branch(self, name: str) -> None:
        """See Peer."""
        self._db.execute("INSERT INTO name VALUES (?)", (name,))

    def tag(self, name: str) -> None:
        """See Peer."""
        self.branch(name)

    def snapshot(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("no history")

    def worktree(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("no history")

    def commit(self, branch: str, records: Sequence[Record]) -> None:
        """See Peer."""
        if branch == "main":
            self._undo = self._replace([(r.id, r.content) for r in records])
        else:
            self._branches[branch] = records

    def get(self, memory_id: str) -> str:
        """See Peer."""
        found = self._db.execute("SELECT content, kind, topic, importance FROM memory WHERE id = ?", (memory_id,))
        return str(found.fetchone()[0])

    def page(self, after: str) -> list[str]:
        """See Peer."""
        sql = "SELECT content, kind, topic, importance FROM memory WHERE id > ? ORDER BY id LIMIT ?"
        return [row[0] for row in self._db.execute(sql, (after, PAGE))]

    def search(self, word: str) -> list[str]:
        """See Peer."""
        sql = (
            "SELECT m.id FROM memory_words w JOIN memory m ON m.no = w.rowid"
            " WHERE memory_words MATCH ? ORDER BY w.rank LIMIT 10"
        )
        return [row[0] for row in self._db.execute(sql, (f'"{word}"',))]

    def diff(self, branch: str) -> list[Changed]:
        """See Peer."""
        found = []
        for record in self._branches[branch]:
            self.get(record.id)
            found.append(Changed(record.id, self.get(record.id), record.content))
        return found

    def merge(self, branch: str) -> None:
        """See Peer."""
        self._replace([(r.id, r.content) for r in self._branches[branch]])

    def roll_back(self) -> None:
        """See Peer."""
        self._replace(self._undo)

    def close(self) -> None:
        """See Peer."""
        self._db.close()

    def _replace(self, contents: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        before = []
        self._db.execute("BEGIN IMMEDIATE")
        for memory_id, content in contents:
            no, old = self._db.execute("SELECT no, content FROM memory WHERE id = ?", (memory_id,)).fetchone()
            self._db.execute(
                "INSERT INTO memory_words (memory_words, rowid, content) VALUES ('delete', ?, ?)", (no, old)
            )
            self._db.execute("UPDATE memory SET content = ? WHERE no = ?", (content, no))
            self._db.execute("INSERT INTO memory_words (rowid, content) VALUES (?, ?)", (no, content))
            before.append((memory_id, old))
        self._db.execute("COMMIT")
        return before


def opened(folder: Path, name: str) -> Sqlite:
    """The store, empty."""
    del name
    return Sqlite(folder)
