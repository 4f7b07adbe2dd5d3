"""Kept merges and the decisions about them, as rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memory_repository.core.canonical import canonical_json
from memory_repository.core.commit_id import timestamp
from memory_repository.core.resolution import Resolution, Resolutions, Take
from thymos.database import Connection

_COLUMNS = (
    "merge_id, source, target, source_commit, target_commit, strategy, state, revision, author, opened_at, message,"
    " reason, meta"
)


@dataclass(frozen=True, slots=True)
class OpenMergeRow:
    """One kept merge; commits by their row numbers."""

    id: str
    source: str
    target: str
    source_commit: int
    target_commit: int
    strategy: str
    state: str
    revision: int
    author: str
    opened_at: datetime
    message: str
    reason: str
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenConflictRow:
    """A memory in conflict: how many conflicts, how many decided, and the decisions by part."""

    memory_id: str
    fingerprint: str
    parts: int
    decided: int
    resolutions: Resolutions


def find(db: Connection, repo_id: int, merge_id: str) -> OpenMergeRow | None:
    """The kept merge of that id, or None."""
    query = f"SELECT {_COLUMNS} FROM open_merge WHERE repo_id = ? AND merge_id = ?"
    row = db.execute(query, (repo_id, merge_id)).fetchone()
    return None if row is None else _row(row)


def of_pair(db: Connection, repo_id: int, source: str, target: str) -> OpenMergeRow | None:
    """The kept merge of `source` into `target`, or None."""
    query = f"SELECT {_COLUMNS} FROM open_merge WHERE repo_id = ? AND source = ? AND target = ?"
    row = db.execute(query, (repo_id, source, target)).fetchone()
    return None if row is None else _row(row)


def every(db: Connection, repo_id: int) -> list[OpenMergeRow]:
    """All kept merges, the oldest first."""
    query = f"SELECT {_COLUMNS} FROM open_merge WHERE repo_id = ? ORDER BY opened_at, merge_id"
    return [_row(row) for row in db.execute(query, (repo_id,)).fetchall()]


def first_in_state(db: Connection, state: str, limit: int) -> list[tuple[str, str, str]]:
    """The oldest merges in a state, of all repositories: (tenant, agent, merge id)."""
    rows = db.execute(
        "SELECT r.tenant, r.agent, m.merge_id FROM open_merge m JOIN repository r ON r.repo_id = m.repo_id"
        " WHERE m.state = ? ORDER BY m.opened_at, m.merge_id LIMIT ?",
        (str(state), limit),
    )
    return [(tenant, agent, merge_id) for tenant, agent, merge_id in rows]


def save(db: Connection, repo_id: int, row: OpenMergeRow) -> None:
    """Write a kept merge, new or not."""
    db.execute(
        f"INSERT INTO open_merge (repo_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (repo_id, merge_id) DO UPDATE SET source_commit = excluded.source_commit,"
        " target_commit = excluded.target_commit, strategy = excluded.strategy, state = excluded.state,"
        " revision = excluded.revision, author = excluded.author, message = excluded.message,"
        " reason = excluded.reason, meta = excluded.meta",
        (
            *(
                repo_id,
                row.id,
                row.source,
                row.target,
                row.source_commit,
                row.target_commit,
                str(row.strategy),
                str(row.state),
            ),
            *(row.revision, row.author, timestamp(row.opened_at), row.message, row.reason),
            canonical_json(row.meta).decode(),
        ),
    )


def rename_target(db: Connection, repo_id: int, branch: str, name: str) -> None:
    """What is merged into a branch is merged into it under its new name."""
    db.execute("UPDATE open_merge SET target = ? WHERE repo_id = ? AND target = ?", (name, repo_id, branch))


def rename_source(db: Connection, repo_id: int, row: OpenMergeRow, source: str) -> None:
    """Name a source anew. A tag may have had the new name, and a kept merge to the same target: then the source keeps
    the old one, which is what it was merged as."""
    if of_pair(db, repo_id, source, row.target) is None:
        db.execute("UPDATE open_merge SET source = ? WHERE repo_id = ? AND merge_id = ?", (source, repo_id, row.id))


def forget_decisions(db: Connection, repo_id: int, memory_id: str) -> None:
    """Forget what was decided about a memory, values and reasons; what a model is asked about it no longer counts."""
    merges = "SELECT merge_id FROM open_conflict WHERE repo_id = ? AND memory_id = ?"
    db.execute(
        f"UPDATE open_merge SET revision = revision + 1 WHERE repo_id = ? AND merge_id IN ({merges})",
        (repo_id, repo_id, memory_id),
    )
    db.execute(
        "UPDATE open_conflict SET decided = 0, resolutions = '{}' WHERE repo_id = ? AND memory_id = ?",
        (repo_id, memory_id),
    )


def delete(db: Connection, repo_id: int, merge_id: str) -> None:
    """Forget a kept merge and what was decided about it."""
    for table in ("open_conflict", "open_merge"):
        db.execute(f"DELETE FROM {table} WHERE repo_id = ? AND merge_id = ?", (repo_id, merge_id))


def conflicts(db: Connection, repo_id: int, merge_id: str) -> dict[str, OpenConflictRow]:
    """The memories in conflict, by id, in the order of their ids."""
    rows = db.execute(
        "SELECT memory_id, fingerprint, parts, decided, resolutions FROM open_conflict"
        " WHERE repo_id = ? AND merge_id = ? ORDER BY memory_id",
        (repo_id, merge_id),
    )
    return {
        memory_id: OpenConflictRow(memory_id, fingerprint, parts, decided, _resolutions(stored))
        for memory_id, fingerprint, parts, decided, stored in rows.fetchall()
    }


def save_conflict(db: Connection, repo_id: int, merge_id: str, row: OpenConflictRow) -> None:
    """Write a memory in conflict, new or not."""
    db.execute(
        "INSERT INTO open_conflict (repo_id, merge_id, memory_id, fingerprint, parts, decided, resolutions)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repo_id, merge_id, memory_id) DO UPDATE SET"
        " fingerprint = excluded.fingerprint, parts = excluded.parts, decided = excluded.decided,"
        " resolutions = excluded.resolutions",
        (repo_id, merge_id, row.memory_id, row.fingerprint, row.parts, row.decided, _stored(row.resolutions)),
    )


def delete_conflicts(db: Connection, repo_id: int, merge_id: str, memory_ids: Iterable[str]) -> None:
    """Forget memories that no longer collide."""
    db.executemany(
        "DELETE FROM open_conflict WHERE repo_id = ? AND merge_id = ? AND memory_id = ?",
        [(repo_id, merge_id, memory_id) for memory_id in memory_ids],
    )


def counts(db: Connection, repo_id: int, merge_id: str) -> tuple[int, int]:
    """How many conflicts a kept merge has, and how many of them are decided."""
    row = db.execute(
        "SELECT coalesce(sum(parts), 0), coalesce(sum(decided), 0) FROM open_conflict"
        " WHERE repo_id = ? AND merge_id = ?",
        (repo_id, merge_id),
    ).fetchone()
    return int(row[0]), int(row[1])


def _row(row: tuple[Any, ...]) -> OpenMergeRow:
    identity, source, target, source_commit, target_commit, strategy, state, revision, author, *last = row
    opened_at, message, reason, meta = last
    return OpenMergeRow(
        id=identity,
        source=source,
        target=target,
        source_commit=source_commit,
        target_commit=target_commit,
        strategy=strategy,
        state=state,
        revision=revision,
        author=author,
        opened_at=datetime.fromisoformat(opened_at),
        message=message,
        reason=reason,
        meta=json.loads(meta),
    )


def _stored(resolutions: Resolutions) -> str:
    facts = {
        part: {"take": str(each.take), "value": each.value, "by": each.by, "rationale": each.rationale}
        for part, each in resolutions.items()
    }
    return canonical_json(facts).decode()


def _resolutions(stored: str) -> dict[str, Resolution]:
    facts = json.loads(stored)
    return {
        part: Resolution(Take(each["take"]), each["value"], each["by"], each["rationale"])
        for part, each in facts.items()
    }
