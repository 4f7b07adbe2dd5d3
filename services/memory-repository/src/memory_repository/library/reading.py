"""Reading a repository."""

from __future__ import annotations

from memory_repository.core.memory import Memory
from memory_repository.library.opening import OpenRepository
from memory_repository.operations import reading, searching
from memory_repository.operations.reading import Branch, Differences, Found, Page
from memory_repository.operations.searching import Hits
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import MAIN


class Reading(OpenRepository):
    """What reads; see MemoryRepository."""

    def get(self, memory_id: str, ref: str = MAIN) -> Found:
        """One memory at a ref (a branch, commit id, unique prefix of 8, tag, snapshot, with `~n` behind it)."""
        with self._reading() as repo:
            return reading.get(repo, memory_id, ref)

    def page(self, ref: str = MAIN, limit: int = 100, after: str = "") -> Page:
        """A page of memories in the order of their ids, beginning after `after`."""
        with self._reading() as repo:
            return reading.page(repo, ref, limit, after)

    def memories(self, ref: str = MAIN) -> list[Memory]:
        """All memories at a ref, by id."""
        with self._reading() as repo:
            return reading.memories(repo, ref)

    def search(self, query: str, ref: str = MAIN, limit: int = 10, kind: str | None = None) -> Hits:
        """Full-text search at a ref: plain words, best first."""
        with self._reading() as repo:
            return searching.search(repo, query, ref, limit, kind)

    def log(self, ref: str = MAIN, limit: int = 50) -> list[CommitRow]:
        """The commits reachable from a ref, every commit before its parents."""
        with self._reading() as repo:
            return reading.log(repo, ref, limit)

    def show(self, ref: str = MAIN) -> Differences:
        """A commit's changes against its first parent."""
        with self._reading() as repo:
            return reading.show(repo, ref)

    def diff(self, a: str, b: str, *, symmetric: bool = False) -> Differences:
        """The changes from `a` to `b`; with `symmetric` from their merge base to `b`."""
        with self._reading() as repo:
            return reading.diff(repo, a, b, symmetric=symmetric)

    def branches(self) -> list[Branch]:
        """All branches, by name."""
        with self._reading() as repo:
            return reading.branches(repo)
