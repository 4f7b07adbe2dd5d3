"""Where names have stood: every move of a branch, tag or snapshot, in order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from memory_repository.core.commit_id import timestamp
from thymos.database import Connection


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a name. `old` and `new` are row numbers of commits; None where the name begins or ends."""

    at: datetime
    actor: str
    operation: str
    old: int | None
    new: int | None
    reason: str


def note(
    db: Connection,
    repo_id: int,
    type_: str,
    name: str,
    now: datetime,
    actor: str,
    operation: str,
    old: int | None,
    new: int | None,
    reason: str,
) -> None:
    """Write a move down."""
    db.execute(
        "INSERT INTO reflog (repo_id, type, name, at, actor, operation, old_commit, new_commit, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (repo_id, type_, name, timestamp(now), actor, operation, old, new, reason),
    )


def of(db: Connection, repo_id: int, type_: str, name: str, limit: int, skip: int = 0) -> list[Move]:
    """The moves of a name, newest first."""
    rows = db.execute(
        "SELECT at, actor, operation, old_commit, new_commit, reason FROM reflog"
        " WHERE repo_id = ? AND type = ? AND name = ? ORDER BY rowid DESC LIMIT ? OFFSET ?",
        (repo_id, type_, name, limit, skip),
    )
    return [Move(datetime.fromisoformat(at), *others) for at, *others in rows]


def at(db: Connection, repo_id: int, branch: str, moment: datetime | int) -> int | None:
    """The commit that a branch named at a time, or so many moves ago; None where it was not there. O(log moves), and
    O(moves ago).

    A clock that was set back makes two moves stand at the wrong side of each other; the later move wins then.
    """
    if isinstance(moment, int):
        found = of(db, repo_id, "branch", branch, 1, skip=moment)
        return found[0].new if found else None
    row = db.execute(
        "SELECT new_commit FROM reflog WHERE repo_id = ? AND type = 'branch' AND name = ? AND at <= ?"
        " ORDER BY at DESC, rowid DESC LIMIT 1",
        (repo_id, branch, timestamp(moment)),
    ).fetchone()
    return None if row is None else row[0]
