"""The history of one memory as mem0 tells it: every version that a branch has seen, with deletions."""

from __future__ import annotations

import uuid
from typing import Any, Final

from memory_repository.adapters.mem0 import records
from memory_repository.adapters.mem0.records import Record
from memory_repository.core.memory import Memory
from memory_repository.operations import tracing
from memory_repository.operations.tracing import MemoryChange
from memory_repository.storage.store import Repository
from thymos.errors import Refusal, RefusalCode

EVENTS_MAX: Final = 1_000
"""The newest events are told, and no more."""


def history(repo: Repository, branch: str, memory_id: str) -> list[dict[str, Any]]:
    """What happened to a memory on a branch and on those merged into it, oldest first; at most the newest 1,000.

    Where retention has dropped the beginning, the first event that is left is an update of what nobody knows any more.
    """
    try:
        changes = tracing.history(repo, memory_id, branch, EVENTS_MAX)
    except Refusal as refusal:
        if refusal.code in (RefusalCode.NOT_FOUND, RefusalCode.INVALID):
            return []
        raise
    told: list[dict[str, Any]] = []
    before: Record | None = None
    for change in reversed(changes):
        after = _record(change.after)
        if after or before:
            told.append(_event(change, before, after, told))
        before = after
    return told


def _event(
    change: MemoryChange, before: Record | None, after: Record | None, told: list[dict[str, Any]]
) -> dict[str, Any]:
    known = after or before
    assert known is not None
    at = change.commit.at
    is_new = before is None and (bool(told) or known.created_at is None)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{change.commit.id}/{known.id}")),
        "memory_id": known.id,
        "old_memory": before and before.text,
        "new_memory": after and after.text,
        "event": "DELETE" if after is None else "ADD" if is_new else "UPDATE",
        "created_at": known.created_at.isoformat() if known.created_at else _created_at(before, told, at.isoformat()),
        "updated_at": at.isoformat(),
        "is_deleted": after is None,
        "actor_id": known.facts.get("actor_id"),
        "role": known.facts.get("role"),
    }


def _created_at(before: Record | None, told: list[dict[str, Any]], now: str) -> str:
    # A version without the time is the first one, or the deletion of that.
    return now if before is None else str(told[-1]["created_at"])


def _record(memory: Memory | None) -> Record | None:
    return None if memory is None or memory.kind != records.KIND else records.from_memory(memory)
