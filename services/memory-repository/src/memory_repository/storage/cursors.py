"""Up to where the commits and the versions of a repository have been looked at, by their numbers.

PostgreSQL gives no number twice. SQLite gives the highest ones anew once their rows are gone, and what has such a
number has not been looked at: whenever rows go, every cursor that lies beyond the highest that is left is set back.
"""

from __future__ import annotations

from typing import Final

from thymos.database import Connection

_COMMITS_WENT: Final = (
    "UPDATE retention SET cursor_no = (SELECT coalesce(max(commit_no), 0) + 1 FROM commits)"
    " WHERE cursor_no > (SELECT coalesce(max(commit_no), 0) + 1 FROM commits)"
)
_VERSIONS_WENT: Final = (
    "UPDATE swept SET version_no = (SELECT coalesce(max(version_id), 0) FROM version)"
    " WHERE version_no > (SELECT coalesce(max(version_id), 0) FROM version)"
)


def next_commit(db: Connection, repo_id: int) -> int:
    """The commits of a repository before this number have been looked at."""
    row = db.execute("SELECT cursor_no FROM retention WHERE repo_id = ?", (repo_id,)).fetchone()
    return 0 if row is None else int(row[0])


def set_next_commit(db: Connection, repo_id: int, number: int) -> None:
    """The commits before this number have been looked at."""
    db.execute(
        "INSERT INTO retention (repo_id, cursor_no) VALUES (?, ?)"
        " ON CONFLICT (repo_id) DO UPDATE SET cursor_no = excluded.cursor_no",
        (repo_id, number),
    )


def last_version(db: Connection, repo_id: int) -> int:
    """The versions of a repository up to this number have been looked at."""
    row = db.execute("SELECT version_no FROM swept WHERE repo_id = ?", (repo_id,)).fetchone()
    return 0 if row is None else int(row[0])


def set_last_version(db: Connection, repo_id: int, number: int) -> None:
    """The versions up to this number have been looked at."""
    db.execute(
        "INSERT INTO swept (repo_id, version_no) VALUES (?, ?)"
        " ON CONFLICT (repo_id) DO UPDATE SET version_no = excluded.version_no",
        (repo_id, number),
    )


def commits_went(db: Connection) -> None:
    """Commits, of whomever, were deleted."""
    if db.engine == "sqlite":
        db.execute(_COMMITS_WENT)


def versions_went(db: Connection) -> None:
    """Versions, of whomever, were deleted."""
    if db.engine == "sqlite":
        db.execute(_VERSIONS_WENT)


def start_anew(db: Connection) -> None:
    """Nothing counts as looked at."""
    db.execute("DELETE FROM retention")
    db.execute("DELETE FROM swept")
