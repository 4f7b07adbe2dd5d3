"""What keeps a commit from being dropped: everything that names it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from memory_repository.core.commit_id import timestamp
from thymos.database import Connection

_NAMED = (
    "SELECT commit_no FROM ref WHERE repo_id = ?",
    "SELECT base_commit FROM worktree WHERE repo_id = ?",
    "SELECT source_commit FROM open_merge WHERE repo_id = ?",
    "SELECT target_commit FROM open_merge WHERE repo_id = ?",
)
"""Branches, tags, snapshots; the bases of open worktrees; both sides of kept merges. A table that names commits for a
while adds its line here."""


def named(db: Connection, repo_id: int, left_since: datetime) -> set[int]:
    """The commits that are named now, or that a ref left after `left_since`."""
    found = {number for sql in _NAMED for (number,) in db.execute(sql, (repo_id,)).fetchall()}
    left = "SELECT commit_no FROM left_behind WHERE repo_id = ? AND at >= ?"
    return found | {number for (number,) in db.execute(left, (repo_id, timestamp(left_since))).fetchall()}


def left_before(db: Connection, repo_id: int, left_until: datetime, most: int) -> list[int]:
    """At most `most` of the commits that refs have left before `left_until`, the newest commits first."""
    rows = db.execute(
        "SELECT commit_no FROM left_behind WHERE repo_id = ? AND at < ? ORDER BY commit_no DESC LIMIT ?",
        (repo_id, timestamp(left_until), most),
    )
    return [number for (number,) in rows.fetchall()]


def note_left(db: Connection, repo_id: int, commit_no: int, now: datetime) -> None:
    """A ref does not name a commit any more, and does not reach it by going on."""
    db.execute(
        "INSERT INTO left_behind (repo_id, commit_no, at) VALUES (?, ?, ?)"
        " ON CONFLICT (repo_id, commit_no) DO UPDATE SET at = excluded.at",
        (repo_id, commit_no, timestamp(now)),
    )


def note_waiting(db: Connection, repo_id: int, commits: Iterable[int], left_until: datetime) -> None:
    """Commits are to be looked at again, whatever has become of those that led to them."""
    at = timestamp(left_until - timedelta(microseconds=1))
    db.executemany(
        "INSERT INTO left_behind (repo_id, commit_no, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(repo_id, commit, at) for commit in commits],
    )


def forget_left(db: Connection, repo_id: int, commit_no: int) -> None:
    """The commit is reached by others, or gone."""
    db.execute("DELETE FROM left_behind WHERE repo_id = ? AND commit_no = ?", (repo_id, commit_no))
