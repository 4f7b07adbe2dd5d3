"""Thymos as a library, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from memory_repository import MemoryRepository
from memory_repository.core.memory import Memory, Put
from memory_repository.core.merge import Strategy

from .workload import PAGE, Changed, Record


class Thymos:
    """A repository in a file."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder}/memory.db"
        self._memory = MemoryRepository.open(self._url)

    def about(self) -> str:
        """See Peer."""
        settings = f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL: each call is on the disk when it returns"
        return f"Thymos {version('thymos-memory-repository')}, library, {settings}; words indexed, history hash-chained"

    def load(self, records: Sequence[Record]) -> None:
        """See Peer."""
        self.commit("main", records)

    def settle(self) -> None:
        """See Peer."""
        self._memory.close()
        self._memory = MemoryRepository.open(self._url)

    def branch(self, name: str) -> None:
        """See Peer."""
        self._memory.create_branch(name)

    def tag(self, name: str) -> None:
        """See Peer."""
        self._memory.tag(name)

    def snapshot(self, name: str) -> None:
        """See Peer."""
        self._memory.snapshot(name, reason="before an experiment", metadata={"experiment": name})

    def worktree(self, name: str) -> None:
        """See Peer."""
        self._memory.open_worktree(name)

    def commit(self, branch: str, records: Sequence[Record]) -> None:
        """See Peer."""
        changes = [
            Put(Memory(r.id, r.content, r.kind, {"topic": r.topic, "importance": r.importance})) for r in records
        ]
        self._memory.commit(changes, branch=branch)

    def get(self, memory_id: str) -> str:
        """See Peer."""
        return self._memory.get(memory_id).memory.content

    def page(self, after: str) -> list[str]:
        """See Peer."""
        return [found.memory.content for found in self._memory.page(limit=PAGE, after=after).memories]

    def search(self, word: str) -> list[str]:
        """See Peer."""
        return [hit.memory.id for hit in self._memory.search(word).hits]

    def diff(self, branch: str) -> list[Changed]:
        """See Peer."""
        changes = self._memory.diff("main", branch).changes
        return [Changed(c.id, c.before.content, c.after.content) for c in changes if c.before and c.after]

    def merge(self, branch: str) -> None:
        """See Peer."""
        self._memory.merge(branch, "main", Strategy.MANUAL)

    def roll_back(self) -> None:
        """See Peer."""
        self._memory.rollback("main~1")

    def close(self) -> None:
        """See Peer."""
        self._memory.close()


def opened(folder: Path, name: str) -> Thymos:
    """The store, empty."""
    del name
    return Thymos(folder)
