"""Until when versions that expire are kept because they were read: a version is named by its memory and its commit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from thymos.database import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def extended_to(db: Connection, repo_id: int, memory_id: str, commit_id: str) -> datetime | None:
    """Until when a version is kept because of a reader; None when nobody read it."""
    row = db.execute(
        "SELECT expires_us FROM memory_expiry WHERE repo_id = ? AND memory_id = ? AND commit_id = ?",
        (repo_id, memory_id, commit_id),
    ).fetchone()
    return None if row is None else _EPOCH + timedelta(microseconds=row[0])


def extend(db: Connection, repo_id: int, memory_id: str, commit_id: str, until: datetime) -> None:
    """Keep a version until then, if it was not kept longer already."""
    db.execute(
        "INSERT INTO memory_expiry (repo_id, memory_id, commit_id, expires_us) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repo_id, memory_id, commit_id) DO UPDATE SET expires_us = excluded.expires_us"
        " WHERE excluded.expires_us > memory_expiry.expires_us",
        (repo_id, memory_id, commit_id, (until - _EPOCH) // timedelta(microseconds=1)),
    )


def forget_dropped(db: Connection, repo_id: int) -> None:
    """Delete what keeps versions whose commit is gone, and with it whatever it wrote. O(what is kept)."""
    db.execute(
        "DELETE FROM memory_expiry WHERE repo_id = ? AND NOT EXISTS (SELECT 1 FROM commits c"
        " WHERE c.repo_id = memory_expiry.repo_id AND c.commit_id = memory_expiry.commit_id)",
        (repo_id,),
    )


def forget_past(db: Connection, repo_id: int, now: datetime) -> None:
    """Delete what no longer keeps anything. O(what goes)."""
    microseconds = (now - _EPOCH) // timedelta(microseconds=1)
    db.execute("DELETE FROM memory_expiry WHERE repo_id = ? AND expires_us <= ?", (repo_id, microseconds))
