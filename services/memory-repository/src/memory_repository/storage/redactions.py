"""What was erased, by whom, when and why, as rows, in the order in which it was erased."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from memory_repository.core.commit_id import timestamp
from thymos.database import Connection

_SELECT = "SELECT memory_id, hash, at, actor, reason FROM redaction WHERE repo_id = ? ORDER BY redaction_id"


@dataclass(frozen=True, slots=True)
class Redaction:
    """A version that was erased: by whom, when, why."""

    memory_id: str
    hash: str
    at: datetime
    actor: str
    reason: str


def note(db: Connection, repo_id: int, redaction: Redaction) -> None:
    """Write down that a version was erased."""
    db.execute(
        "INSERT INTO redaction (repo_id, memory_id, hash, at, actor, reason) VALUES (?, ?, ?, ?, ?, ?)",
        (
            *(repo_id, redaction.memory_id, redaction.hash),
            *(timestamp(redaction.at), redaction.actor, redaction.reason),
        ),
    )


def newest(db: Connection, repo_id: int, limit: int, skip: int = 0) -> list[Redaction]:
    """The newest ones, the newest first, without the newest `skip`."""
    return [_of(row) for row in db.execute(f"{_SELECT} DESC LIMIT ? OFFSET ?", (repo_id, limit, skip)).fetchall()]


def every(db: Connection, repo_id: int) -> Iterator[Redaction]:
    """All of them, the oldest first."""
    return (_of(row) for row in db.execute(_SELECT, (repo_id,)).fetchall())


def _of(row: tuple[str, str, str, str, str]) -> Redaction:
    memory_id, digest, at, actor, reason = row
    return Redaction(memory_id, digest, datetime.fromisoformat(at), actor, reason)
