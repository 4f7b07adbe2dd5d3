"""Reading a repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.library.opening import OpenRepository
from memory_repository.operations import bisecting, nearest, reading, searching, tracing
from memory_repository.operations.bisecting import Bisection
from memory_repository.operations.reading import Branch, Differences, Found, Move, NamedCommit, Page
from memory_repository.operations.searching import Hits, Mode
from memory_repository.operations.tracing import Blame, MemoryChange
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import MAIN, Repository
from thymos.errors import Refusal, RefusalCode


class Reading(OpenRepository):
    """What reads; see MemoryRepository."""

    def get(self, memory_id: str, ref: str = MAIN) -> Found:
        """One memory at a ref: a branch, tag, snapshot or commit, with `~n`, `^n` or `@{2h}` (core/revisions.py)."""
        with self._reading() as repo:
            return reading.get(repo, memory_id, ref)

    def page(
        self,
        ref: str = MAIN,
        limit: int = 100,
        after: str = "",
        *,
        kind: str | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> Page:
        """A page of memories in the order of their ids, beginning after `after`; `where` as in `search`."""
        with self._reading() as repo:
            return reading.page(repo, ref, limit, after, kind, where)

    def memories(self, ref: str = MAIN) -> list[Memory]:
        """All memories at a ref, by id."""
        with self._reading() as repo:
            return reading.memories(repo, ref)

    def search(
        self,
        query: str,
        ref: str = MAIN,
        limit: int = 10,
        kind: str | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        skip: int = 0,
        mode: Mode | str = Mode.WORDS,
    ) -> Hits:
        """Search at a ref, best first: by "words", by "meaning", or "both"; `where` narrows it by fields, such as
        `{"topic": "refunds", "weight": {"$gte": 3}}` (core/filters.py). The next page skips this one's hits."""
        mode = limits.check_choice("mode", Mode, mode)
        with self._reading() if mode is Mode.WORDS else self._embedding() as repo:
            return searching.search(
                repo, query, ref, limit, kind, where=where, skip=skip, mode=mode, embedder=self._embedder
            )

    def embed(self, ref: str = MAIN) -> int:
        """Make vectors for at most 1,000 memories at a ref that have none; how many are left without."""
        if self._embedder is None:
            raise Refusal(RefusalCode.REFUSED, "there is no embedder", "open the repository with one")
        with self._embedding() as repo:
            return nearest.embed(repo, repo.resolve(ref), self._embedder)

    @contextmanager
    def _embedding(self) -> Iterator[Repository]:
        # Vectors that are missing are made and kept on the way.
        with self._writing() as (repo, _):
            yield repo

    def log(self, ref: str = MAIN, limit: int = 50) -> list[CommitRow]:
        """The commits reachable from a ref, every commit before its parents."""
        with self._reading() as repo:
            return reading.log(repo, ref, limit)

    def show(self, ref: str = MAIN, limit: int = 1_000, after: str = "") -> Differences:
        """A commit's changes against its first parent; the next page begins after this one's `next_after`."""
        with self._reading() as repo:
            return reading.show(repo, ref, limit, after)

    def diff(self, a: str, b: str, *, symmetric: bool = False, limit: int = 1_000, after: str = "") -> Differences:
        """The changes from `a` to `b`; with `symmetric` from their merge base to `b`. The next page begins after this
        one's `next_after`."""
        with self._reading() as repo:
            return reading.diff(repo, a, b, symmetric=symmetric, limit=limit, after=after)

    def resolve(self, ref: str = MAIN) -> CommitRow:
        """The commit that a ref names."""
        with self._reading() as repo:
            return repo.resolve(ref)

    def merge_bases(self, a: str, b: str) -> list[CommitRow]:
        """The best common ancestors: several after criss-cross merges."""
        with self._reading() as repo:
            return reading.common_ancestors(repo, a, b)

    def history(self, memory_id: str, ref: str = MAIN, limit: int = 50) -> list[MemoryChange]:
        """The commits that changed one memory, newest first, with what each made of it."""
        with self._reading() as repo:
            return tracing.history(repo, memory_id, ref, limit)

    def blame(self, memory_id: str, ref: str = MAIN) -> Blame:
        """Who wrote each line, the kind and each field of a memory."""
        with self._reading() as repo:
            return tracing.blame(repo, memory_id, ref)

    def bisect(self, good: Sequence[str], bad: str = MAIN, skip: Sequence[str] = ()) -> Bisection:
        """Which commit to test next, to find the first bad one."""
        known_good = limits.check_texts("the good commits", good)
        skipped = limits.check_texts("the skipped commits", skip)
        with self._reading() as repo:
            return bisecting.bisect(repo, known_good, bad, skipped)

    def tags(self) -> list[NamedCommit]:
        """All tags, by name."""
        with self._reading() as repo:
            return reading.named(repo, "tag")

    def snapshots(self) -> list[NamedCommit]:
        """All snapshots, by name."""
        with self._reading() as repo:
            return reading.named(repo, "snapshot")

    def reflog(self, branch: str = MAIN, limit: int = 50, skip: int = 0) -> list[Move]:
        """Where a branch has stood, newest first, without the newest `skip`, also after it was deleted."""
        with self._reading() as repo:
            return reading.moves(repo, branch, "branch", limit, skip)

    def branches(self) -> list[Branch]:
        """All branches, by name."""
        with self._reading() as repo:
            return reading.branches(repo)
