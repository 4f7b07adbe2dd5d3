"""Items as they stand at a branch's head, found by name, by namespace and by query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from langgraph.store.base import ListNamespacesOp, SearchOp, get_text_at_path, tokenize_path

from memory_repository.adapters.langgraph import items, naming
from memory_repository.adapters.langgraph.items import StoredItem, ending
from memory_repository.adapters.langgraph.matching import in_namespace, matches
from memory_repository.core import limits
from memory_repository.core.memory import Memory
from memory_repository.core.ranking import query_terms, words
from memory_repository.operations import searching
from memory_repository.storage import commits, expiries, refs, timeline, versions
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository


@dataclass(frozen=True, slots=True)
class Shown:
    """An item, the memory that holds it, and the commit that wrote this version of it."""

    item: StoredItem
    memory: Memory
    commit: str
    updated_at: datetime
    expired: bool

    @property
    def id(self) -> str:
        """The memory's id."""
        return self.memory.id

    @property
    def created_at(self) -> datetime:
        """When the item came to be."""
        return self.item.created_at or self.updated_at


class Shelf:
    """The items on a branch at one moment, within the caller's transaction."""

    def __init__(self, repo: Repository, branch: str, now: datetime, *, omit_expired: bool) -> None:
        self._repo = repo
        self._now = now
        self._omit_expired = omit_expired
        self._head = commits.by_no(repo.db, refs.branch(repo.db, repo.id, branch).commit_no)
        self._view = timeline.view_of(repo.db, self._head.place)
        self._commits: dict[int, CommitRow] = {}

    def find(self, namespace: tuple[str, ...], key: str, *, expired_too: bool = False) -> Shown | None:
        """The item of that name; None when there is none."""
        shown = self.by_id(naming.memory_id(namespace, key))
        return shown if shown is not None and (expired_too or self._is_shown(shown)) else None

    def by_id(self, memory_id: str) -> Shown | None:
        """The item that a memory holds, whether or not it has expired; None when there is none."""
        slot = timeline.visible(self._repo.db, self._view, memory_id)
        if slot is None:
            return None
        memory = versions.load_memory(self._repo.db, slot.version)
        return self._shown(memory, slot.commit_no) if memory.kind in (items.KIND, items.UNSEARCHED) else None

    def everything(self) -> Iterator[Shown]:
        """All items by id, whether or not they have expired."""
        yield from (shown for row in self._listed(()) if (shown := self._load(row)) is not None)

    def search(self, op: SearchOp) -> list[tuple[Shown, float | None]]:
        """A page of the items under a namespace that pass the filter: best first with a query, else newest first."""
        if op.limit < 0 or op.offset < 0:
            raise limits.invalid(f"limit {op.limit} and offset {op.offset} must not be negative")
        found: list[tuple[Shown, float | None]] = []
        for shown, score in self._queried(op) if op.query else self._newest(op):
            if len(found) == op.offset + op.limit:
                break
            if self._is_shown(shown):
                found.append((shown, score))
        return found[op.offset : op.offset + op.limit]

    def namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        """The namespaces that hold an item, sorted, cut to `max_depth`, those that pass all conditions."""
        found: set[tuple[str, ...]] = set()
        for row in self._listed(()):
            if not naming.is_hashed(row[0]) and naming.parsed(row[0])[0] in found:
                continue
            shown = self._load(row)
            if shown is not None and self._is_shown(shown):
                found.add(shown.item.namespace)
        kept = (name for name in found if all(in_namespace(name, one) for one in op.match_conditions or ()))
        cut = sorted({name[: op.max_depth] for name in kept} if op.max_depth is not None else kept)
        return cut[op.offset : op.offset + op.limit]

    def _newest(self, op: SearchOp) -> Iterator[tuple[Shown, None]]:
        for row in sorted(self._listed(op.namespace_prefix), key=lambda row: (-row[2], row[0])):
            shown = self._load(row)
            if shown is not None and _under(shown.item, op.namespace_prefix) and matches(shown.item.value, op.filter):
                yield shown, None

    def _queried(self, op: SearchOp) -> Iterator[tuple[Shown, float]]:
        query = op.query or ""
        terms = set(query_terms(query, limits.QUERY_TERMS_MAX))

        def accept(memory: Memory) -> bool:
            item = items.from_memory(memory)
            return _under(item, op.namespace_prefix) and matches(item.value, op.filter) and _is_searched(item, terms)

        ids = naming.ranges(op.namespace_prefix)
        for memory, score in searching.ranked(self._repo, self._head, query, items.KIND, ids, accept):
            if (shown := self.by_id(memory.id)) is not None:
                yield shown, score

    def _listed(self, prefix: tuple[str, ...]) -> Iterable[timeline.Listed]:
        for first, end in naming.ranges(prefix):
            for row in timeline.listed(self._repo.db, self._view, first):
                if row[0] >= end:
                    break
                yield row

    def _load(self, row: timeline.Listed) -> Shown | None:
        memory = versions.load_memory(self._repo.db, row[1])
        return self._shown(memory, row[2]) if memory.kind in (items.KIND, items.UNSEARCHED) else None

    def _shown(self, memory: Memory, commit_no: int) -> Shown:
        commit = self._commits.get(commit_no)
        if commit is None:
            commit = self._commits[commit_no] = commits.by_no(self._repo.db, commit_no)
        item = items.from_memory(memory)
        return Shown(item, memory, commit.id, commit.at, self._is_expired(item, memory.id, commit))

    def _is_expired(self, item: StoredItem, memory_id: str, commit: CommitRow) -> bool:
        if item.ttl_minutes is None:
            return False
        if ending(commit.at, item.ttl_minutes) > self._now:
            return False
        extended = expiries.extended_to(self._repo.db, self._repo.id, memory_id, commit.id)
        return extended is None or extended <= self._now

    def _is_shown(self, shown: Shown) -> bool:
        return not (shown.expired and self._omit_expired)


def _under(item: StoredItem, prefix: tuple[str, ...]) -> bool:
    return item.namespace[: len(prefix)] == tuple(prefix)


def _is_searched(item: StoredItem, terms: set[str]) -> bool:
    # With paths, a word elsewhere in the item does not count.
    if item.searched is None:
        return True
    texts = (text for path in item.searched for text in get_text_at_path(item.value, tokenize_path(path)))
    return any(term in terms for text in texts for term in words(text))
