"""The memories of mem0's kind at a branch's head: by id, by scope, by query."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from memory_repository.adapters.mem0 import filtering, records
from memory_repository.adapters.mem0.records import Record
from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.ranking import query_terms, words
from memory_repository.operations import searching
from memory_repository.storage import commits, refs, timeline, versions
from memory_repository.storage.store import Repository
from thymos.errors import Refusal


class Desk:
    """What can be found at one moment, within the caller's transaction."""

    def __init__(self, repo: Repository, branch: str, now: datetime) -> None:
        self._repo = repo
        self._today = now.date()
        self._head = commits.by_no(repo.db, refs.branch(repo.db, repo.id, branch).commit_no)
        self._view = timeline.view_of(repo.db, self._head.place)

    def find(self, memory_id: str) -> tuple[Record, datetime] | None:
        """A memory and when it was changed last; None when there is none."""
        try:
            limits.check_memory_id(memory_id)
        except Refusal:
            return None
        slot = timeline.visible(self._repo.db, self._view, memory_id)
        memory = None if slot is None else versions.load_memory(self._repo.db, slot.version)
        if slot is None or memory is None or memory.kind != records.KIND:
            return None
        return records.from_memory(memory), commits.by_no(self._repo.db, slot.commit_no).at

    def shown(self, memory_id: str) -> dict[str, Any] | None:
        """The same as mem0 shows it."""
        found = self.find(memory_id)
        return None if found is None else found[0].shown(found[1])

    def listing(
        self, scope: Mapping[str, str], filters: Mapping[str, Any], limit: int, *, show_expired: bool
    ) -> list[dict[str, Any]]:
        """The memories in scope, the one changed last first. O(memories)."""
        found: list[dict[str, Any]] = []
        for record, commit_no in self._records():
            if len(found) == limit:
                break
            at = commits.by_no(self._repo.db, commit_no).at
            if self._passes(record, at, scope, filters, show_expired=show_expired):
                found.append(record.shown(at, scored=False))
        return found

    def ids(self, scope: Mapping[str, str], limit: int) -> list[str]:
        """The ids of the memories in scope, expired or not."""
        found: list[str] = []
        for record, _ in self._records():
            if len(found) == limit:
                break
            if record.is_of(scope):
                found.append(record.id)
        return found

    def search(
        self,
        query: str,
        scope: Mapping[str, str],
        filters: Mapping[str, Any],
        limit: int,
        threshold: float,
        *,
        show_expired: bool,
    ) -> list[dict[str, Any]]:
        """The memories in scope that hold words of the query, best first.

        A score is the weight of the words that a memory holds, over the weight of those that any of them holds; a word
        weighs by its inverse document frequency. Equal scores are ranked by BM25.
        """
        terms = query_terms(query, limits.QUERY_TERMS_MAX)

        def accept(memory: Memory) -> bool:
            record = records.from_memory(memory)
            # Without filters the time of the last change does not matter, and it costs a look at the commit.
            found = self.find(memory.id) if filters else None
            at = found[1] if found else self._head.at
            held = not set(terms).isdisjoint(words(record.text))
            return held and self._passes(record, at, scope, filters, show_expired=show_expired)

        hits = searching.ranked(self._repo, self._head, query, records.KIND, accept=accept)
        holding = {memory.id: set(words(memory.content)).intersection(terms) for memory, _ in hits}
        counts = Counter(term for found in holding.values() for term in found)
        total = max(self._head.memories, len(hits))
        weights = {term: math.log(1 + (total - n + 0.5) / (n + 0.5)) for term, n in counts.items()}
        whole = math.fsum(weights.values())
        scores = {name: math.fsum(weights[term] for term in sorted(found)) / whole for name, found in holding.items()}
        best = sorted(hits, key=lambda hit: (-scores[hit[0].id], -hit[1], hit[0].id))
        found: list[dict[str, Any]] = []
        for memory, _ in [hit for hit in best if scores[hit[0].id] >= threshold][:limit]:
            one = self.find(memory.id)
            assert one is not None
            found.append(one[0].shown(one[1], score=scores[memory.id]))
        return found

    def _records(self) -> Iterator[tuple[Record, int]]:
        rows = sorted(timeline.listed(self._repo.db, self._view), key=lambda row: (-row[2], row[0]))
        for _, version, commit_no in rows:
            memory = versions.load_memory(self._repo.db, version)
            if memory.kind == records.KIND:
                yield records.from_memory(memory), commit_no

    def _passes(
        self,
        record: Record,
        updated_at: datetime,
        scope: Mapping[str, str],
        filters: Mapping[str, Any],
        *,
        show_expired: bool,
    ) -> bool:
        if not record.is_of(scope) or (record.is_expired(self._today) and not show_expired):
            return False
        shown = record.shown(updated_at)
        return filtering.matches({**(shown.pop("metadata") or {}), **shown}, filters)
