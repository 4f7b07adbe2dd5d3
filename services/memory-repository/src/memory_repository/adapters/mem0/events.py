"""The history of one memory as mem0 tells it: every version that a branch has seen, with deletions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from memory_repository.adapters.mem0 import records
from memory_repository.adapters.mem0.records import Record
from memory_repository.core.memory import Memory
from memory_repository.storage import commits, refs, timeline, versions
from memory_repository.storage.store import Repository


def history(repo: Repository, branch: str, memory_id: str) -> list[dict[str, Any]]:
    """What happened to a memory on a branch, oldest first."""
    told: list[dict[str, Any]] = []
    before: Record | None = None
    created_at: datetime | None = None
    for memory, commit_id, at in _versions(repo, branch, memory_id):
        after = None if memory is None or memory.kind != records.KIND else records.from_memory(memory)
        if after is None and before is None:
            continue
        created_at = at if before is None else created_at
        assert created_at is not None
        known = after or before
        assert known is not None
        told.append(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{commit_id}/{memory_id}")),
                "memory_id": memory_id,
                "old_memory": before and before.text,
                "new_memory": after and after.text,
                "event": "DELETE" if after is None else "ADD" if before is None else "UPDATE",
                "created_at": created_at.isoformat(),
                "updated_at": at.isoformat(),
                "is_deleted": after is None,
                "actor_id": known.facts.get("actor_id"),
                "role": known.facts.get("role"),
            }
        )
        before = after
    return told


def _versions(repo: Repository, branch: str, memory_id: str) -> Iterator[tuple[Memory | None, str, datetime]]:
    head = commits.by_no(repo.db, refs.branch(repo.db, repo.id, branch).commit_no)
    last: int | None = None
    for place in reversed(timeline.view_of(repo.db, head.place)):
        rows = repo.db.execute(
            "SELECT version_id, commit_no FROM entry WHERE line_id = ? AND memory_id = ? AND seq <= ? ORDER BY seq",
            (place.line, memory_id, place.seq),
        ).fetchall()
        for version, commit_no in rows:
            if version == last:
                continue
            last = version
            commit = commits.by_no(repo.db, commit_no)
            yield None if version is None else versions.load_memory(repo.db, version), commit.id, commit.at
