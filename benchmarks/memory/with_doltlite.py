"""DoltLite: one table, and with `-fts` an FTS5 index beside it, versioned with it, as Thymos indexes every version."""

import doltlite  # noqa: F401  # isort: skip  (before sqlite3)

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from .workload import PAGE, Changed, NotOffered, Record


class Doltlite:
    """A database with a checkout of main."""

    def __init__(self, folder: Path, *, indexed: bool) -> None:
        self._path, self._indexed = folder / "memory.db", indexed
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE memory (no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content TEXT, kind TEXT, topic TEXT,"
            " importance INTEGER)"
        )
        if indexed:
            self._db.execute(
                "CREATE VIRTUAL TABLE memory_words USING fts5(content, content='memory', content_rowid='no')"
            )
        self._commit("begin")

    def about(self) -> str:
        """See Peer."""
        (dolt,), (sqlite,) = (
            self._db.execute(f"SELECT {name}()").fetchone() for name in ("dolt_version", "sqlite_version")
        )
        words = "FTS5 index versioned with the table" if self._indexed else "no index of words, no search"
        return f"DoltLite {dolt} (SQLite {sqlite}), synchronous=FULL: one fdatasync per commit; {words}"

    def load(self, records: Sequence[Record]) -> None:
        """See Peer."""
        self._db.execute("BEGIN")
        sql = "INSERT INTO memory (id, content, kind, topic, importance) VALUES (?, ?, ?, ?, ?) RETURNING no"
        for r in records:
            (no,) = self._db.execute(sql, (r.id, r.content, r.kind, r.topic, r.importance)).fetchone()
            if self._indexed:
                self._db.execute("INSERT INTO memory_words (rowid, content) VALUES (?, ?)", (no, r.content))
        self._commit("load")

    def settle(self) -> None:
        """See Peer."""
        self._db.close()
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("PRAGMA synchronous=FULL")

    def branch(self, name: str) -> None:
        """See Peer."""
        self._call("dolt_branch", name)

    def tag(self, name: str) -> None:
        """See Peer."""
        self._call("dolt_tag", name)

    def snapshot(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("a tag without metadata")

    def worktree(self, name: str) -> None:
        """See Peer."""
        raise NotOffered("one checkout per connection")

    def commit(self, branch: str, records: Sequence[Record]) -> None:
        """See Peer."""
        if branch != "main":
            self._call("dolt_checkout", branch)
        self._db.execute("BEGIN")
        for r in records:
            self._replace(r)
        self._commit("change")
        if branch != "main":
            self._call("dolt_checkout", "main")

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
        if not self._indexed:
            raise NotOffered("no index of words")
        sql = (
            "SELECT m.id FROM memory_words w JOIN memory m ON m.no = w.rowid"
            " WHERE memory_words MATCH ? ORDER BY w.rank LIMIT 10"
        )
        return [row[0] for row in self._db.execute(sql, (f'"{word}"',))]

    def diff(self, branch: str) -> list[Changed]:
        """See Peer."""
        sql = "SELECT from_id, from_content, to_content FROM dolt_diff_memory(?, ?)"
        return [Changed(*row) for row in self._db.execute(sql, ("main", branch))]

    def merge(self, branch: str) -> None:
        """See Peer."""
        self._call("dolt_merge", branch)

    def roll_back(self) -> None:
        """See Peer."""
        self._call("dolt_revert", "HEAD")

    def close(self) -> None:
        """See Peer."""
        self._db.close()

    def _replace(self, r: Record) -> None:
        if self._indexed:
            no, old = self._db.execute("SELECT no, content FROM memory WHERE id = ?", (r.id,)).fetchone()
            self._db.execute(
                "INSERT INTO memory_words (memory_words, rowid, content) VALUES ('delete', ?, ?)", (no, old)
            )
            self._db.execute("INSERT INTO memory_words (rowid, content) VALUES (?, ?)", (no, r.content))
        self._db.execute(
            "UPDATE memory SET content = ?, kind = ?, topic = ?, importance = ? WHERE id = ?",
            (r.content, r.kind, r.topic, r.importance, r.id),
        )

    def _commit(self, message: str) -> None:
        self._call("dolt_commit", "-A", "-m", message)
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    def _call(self, function: str, *arguments: str) -> None:
        self._db.execute(f"SELECT {function}({', '.join('?' * len(arguments))})", arguments).fetchall()


def opened(folder: Path, name: str) -> Doltlite:
    """The store, empty."""
    return Doltlite(folder, indexed=name == "doltlite-fts")
