"""LangGraph's long-term store: items with a namespace and a key, kept as memories of one branch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)

from memory_repository.adapters.langgraph.items import StoredItem, check_ttl, ending
from memory_repository.adapters.langgraph.reading import Shelf, Shown
from memory_repository.adapters.retrying import retried
from memory_repository.core.limits import CHANGES_MAX
from memory_repository.core.memory import Delete, Put
from memory_repository.library import MemoryRepository
from memory_repository.operations import committing
from memory_repository.storage import expiries
from memory_repository.storage.store import MAIN, Repository

AUTHOR: Final = "langgraph"


class MemoryStore(BaseStore):
    """A `BaseStore` on one branch of an agent's memory.

    A batch is one commit, whose history, diff and rollback are those of every commit; its reads see what was there
    before it. Queries are full-text search: only what holds a word of the query is found, best first. Without a query
    the item changed last comes first. Another branch, another store: what an experiment writes there is not seen here.

    Methods raise `thymos.errors.Refusal` for what is over a limit: 64 KiB of text, or of JSON, an item.
    """

    supports_ttl = True
    __slots__ = ("_author", "_branch", "_paths", "_swept_at", "memory", "ttl_config")

    def __init__(
        self,
        memory: MemoryRepository,
        *,
        branch: str = MAIN,
        author: str = AUTHOR,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
    ) -> None:
        """Keep items in `memory`, which the caller closes.

        Args:
            memory: the agent's memory.
            branch: the branch to read and write.
            author: whose commits they are.
            index: `fields` says which parts of a value queries look at, all unless given; nothing else is used.
            ttl: as LangGraph has it, except that expired items are left out unless `omit_expired` is False.
        """
        self.memory = memory
        self.ttl_config = ttl
        self._branch = branch
        self._author = author
        paths = tuple((index or {}).get("fields") or ("$",))
        self._paths = None if "$" in paths else paths
        self._swept_at = memory.now()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The answers to operations, in their order."""
        asked = list(ops)
        for op in asked:
            validate_op_namespace(op)
        if any(isinstance(op, PutOp) for op in asked):
            results = retried(lambda: self.memory.write(lambda repo, now: self._written(repo, now, asked)))
            self._sweep_if_due()
            return results
        now = self.memory.now()
        results, read = self.memory.read(lambda repo: self._read(repo, now, asked))
        if read:
            retried(lambda: self.memory.write(lambda repo, now: _refresh(repo, now, read)))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """`batch`, from an event loop."""
        return await asyncio.to_thread(self.batch, list(ops))

    def sweep_ttl(self) -> int:
        """Delete the items of the branch that have expired. O(items). Returns how many went."""
        now = self.memory.now()
        expired = self.memory.read(lambda repo: [one.id for one in self._shelf(repo, now).everything() if one.expired])
        swept = 0
        for start in range(0, len(expired), CHANGES_MAX):
            sweep = partial(self._swept, ids=expired[start : start + CHANGES_MAX])
            swept += retried(partial(self.memory.write, sweep))
        self.memory.write(lambda repo, now: expiries.forget_past(repo.db, repo.id, now))
        return swept

    def _sweep_if_due(self) -> None:
        interval = (self.ttl_config or {}).get("sweep_interval_minutes")
        now = self.memory.now()
        if interval is not None and (now - self._swept_at).total_seconds() >= interval * 60:
            self._swept_at = now
            self.sweep_ttl()

    def _shelf(self, repo: Repository, now: datetime) -> Shelf:
        return Shelf(repo, self._branch, now, omit_expired=(self.ttl_config or {}).get("omit_expired", True))

    def _read(self, repo: Repository, now: datetime, ops: list[Op]) -> tuple[list[Result], list[Shown]]:
        # The answers, and which of the items that were read are kept longer for that.
        shelf = self._shelf(repo, now)
        results: list[Result] = []
        read: list[Shown] = []
        for op in ops:
            found: list[Shown] = []
            match op:
                case GetOp():
                    found = [shown for shown in [shelf.find(op.namespace, op.key)] if shown is not None]
                    results.append(_item(found[0]) if found else None)
                case SearchOp():
                    scored = shelf.search(op)
                    found = [shown for shown, _ in scored]
                    results.append([_search_item(shown, score) for shown, score in scored])
                case ListNamespacesOp():
                    results.append(shelf.namespaces(op))
                case PutOp():
                    results.append(None)
                case _:
                    raise ValueError(f"Unknown operation type: {type(op)}")
            if getattr(op, "refresh_ttl", False):
                read += (shown for shown in found if shown.item.ttl_minutes is not None)
        return results, read

    def _written(self, repo: Repository, now: datetime, ops: list[Op]) -> list[Result]:
        results, read = self._read(repo, now, ops)
        _refresh(repo, now, read)
        puts = {(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}
        shelf = self._shelf(repo, now)
        changes: list[Put | Delete] = []
        again: list[Shown] = []
        for op in puts.values():
            current = shelf.find(op.namespace, op.key, expired_too=True)
            if op.value is None:
                changes += [Delete(current.id)] if current else []
                continue
            new = self._new_item(op, op.value)
            if current is None or current.expired:
                changes.append(Put(new.to_memory()))
            elif new.like(current.item.created_at).to_memory().same_as(current.memory):
                again.append(current)
            else:
                changes.append(Put(new.like(current.created_at).to_memory()))
        _refresh(repo, now, [shown for shown in again if shown.item.ttl_minutes is not None])
        if changes:
            committing.commit(repo, self._branch, changes, author=self._author, message=_message(changes), now=now)
        return results

    def _new_item(self, op: PutOp, value: Mapping[str, Any]) -> StoredItem:
        paths = self._paths if op.index is None else tuple(op.index or ())
        return StoredItem(
            namespace=tuple(op.namespace),
            key=op.key,
            value=dict(value),
            ttl_minutes=None if op.ttl is None else check_ttl(op.ttl),
            searched=None if op.index is False else paths,
            hidden=op.index is False,
        )

    def _swept(self, repo: Repository, now: datetime, ids: list[str]) -> int:
        shelf = self._shelf(repo, now)
        expired = [shown.id for name in ids if (shown := shelf.by_id(name)) is not None and shown.expired]
        if expired:
            changes = [Delete(name) for name in expired]
            message = f"{len(expired)} items have expired"
            committing.commit(repo, self._branch, changes, author=self._author, message=message, now=now)
        return len(expired)


def _refresh(repo: Repository, now: datetime, read: Iterable[Shown]) -> None:
    for shown in read:
        assert shown.item.ttl_minutes is not None
        expiries.extend(repo.db, repo.id, shown.id, shown.commit, ending(now, shown.item.ttl_minutes))
    # Also where nobody ever sweeps, there are no more rows than versions that still live.
    expiries.forget_past(repo.db, repo.id, now)


def _message(changes: list[Put | Delete]) -> str:
    if len(changes) == 1:
        return f"{'put' if isinstance(changes[0], Put) else 'delete'} {changes[0].id}"
    puts = sum(isinstance(change, Put) for change in changes)
    return f"put {puts} items, delete {len(changes) - puts}"


def _item(shown: Shown) -> Item:
    return Item(
        value=shown.item.value,
        key=shown.item.key,
        namespace=shown.item.namespace,
        created_at=shown.created_at,
        updated_at=shown.updated_at,
    )


def _search_item(shown: Shown, score: float | None) -> SearchItem:
    return SearchItem(
        namespace=shown.item.namespace,
        key=shown.item.key,
        value=shown.item.value,
        created_at=shown.created_at,
        updated_at=shown.updated_at,
        score=score,
    )
