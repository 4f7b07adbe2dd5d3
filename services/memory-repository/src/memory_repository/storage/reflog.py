"""Where names have stood: every move of a branch, tag or snapshot, in order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from memory_repository.core.commit_id import timestamp
from thymos.database import Connection

DROPPED = "dropped"
"""The operation of a row that stands for moves to commits that are gone."""
_OF_NAME = "SELECT rowid, operation FROM reflog WHERE repo_id = ? AND type = ? AND name = ? AND rowid"
_BEFORE = f"{_OF_NAME} < ? ORDER BY rowid DESC LIMIT 1"
_AFTER = f"{_OF_NAME} > ? ORDER BY rowid LIMIT 1"


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


def reach(db: Connection, repo_id: int, branch: str) -> tuple[int, str]:
    """How many moves of a branch are known, and since when."""
    sql = "SELECT count(*), min(at) FROM reflog WHERE repo_id = ? AND type = 'branch' AND name = ?"
    moves, since = db.execute(sql, (repo_id, branch)).fetchone()
    return moves, since or ""


def forget_ended(db: Connection, repo_id: int, until: datetime, most: int) -> int:
    """What names did before they were deleted is forgotten, of at most so many deletions before `until`. Returns of how
    many."""
    ended = db.execute(
        "SELECT rowid, type, name FROM reflog WHERE repo_id = ? AND operation = 'delete' AND at < ?"
        " ORDER BY at LIMIT ?",
        (repo_id, timestamp(until), most),
    ).fetchall()
    db.executemany(
        "DELETE FROM reflog WHERE repo_id = ? AND type = ? AND name = ? AND rowid <= ?",
        [(repo_id, type_, name, row) for row, type_, name in ended],
    )
    return len(ended)


def drop(db: Connection, repo_id: int, gone: str) -> None:
    """Commits are dropped, those that the query `gone` names: where a name stood at one of them, the reflog says only
    that it is not known any more, once for moves on end; before the first move that is left it says nothing."""
    rows = db.execute(
        f"SELECT rowid, type, name FROM reflog WHERE repo_id = ? AND new_commit IN ({gone}) ORDER BY rowid", (repo_id,)
    ).fetchall()
    for row, *name in rows:
        key = (repo_id, *name, row)
        before, after = (db.execute(sql, key).fetchone() for sql in (_BEFORE, _AFTER))
        if before is None or before[1] == DROPPED:
            db.execute("DELETE FROM reflog WHERE rowid = ?", (row,))
            continue
        db.execute(
            "UPDATE reflog SET operation = ?, old_commit = NULL, new_commit = NULL, reason = '' WHERE rowid = ?",
            (DROPPED, row),
        )
        if after is not None and after[1] == DROPPED:
            db.execute("DELETE FROM reflog WHERE rowid = ?", (after[0],))
    db.execute(f"UPDATE reflog SET old_commit = NULL WHERE repo_id = ? AND old_commit IN ({gone})", (repo_id,))
