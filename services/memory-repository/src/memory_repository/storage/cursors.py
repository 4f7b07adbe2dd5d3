"""Up to where the commits and the versions of a repository have been looked at, by their numbers.

PostgreSQL gives no number twice. SQLite gives the highest ones anew once their rows are gone, and what has such a
number has not been looked at: whenever rows go, every cursor that lies beyond the highest that is left is set back.
"""

from __future__ import annotations

from typing import Final

from thymos.database import Connection

_COMMITS: Final = ("retention", "cursor_no", "SELECT coalesce(max(commit_no), 0) + 1 FROM commits")
_VERSIONS: Final = ("swept", "version_no", "SELECT coalesce(max(version_id), 0) FROM version")
"""Table and column of a cursor, and how far it can be."""


def next_commit(db: Connection, repo_id: int) -> int:
    """The commits of a repository before this number have been looked at."""
    return _read(db, _COMMITS, repo_id)


def set_next_commit(db: Connection, repo_id: int, number: int) -> None:
    """The commits before this number have been looked at."""
    _write(db, _COMMITS, repo_id, number)


def last_version(db: Connection, repo_id: int) -> int:
    """The versions of a repository up to this number have been looked at."""
    return _read(db, _VERSIONS, repo_id)


def set_last_version(db: Connection, repo_id: int, number: int) -> None:
    """The versions up to this number have been looked at."""
    _write(db, _VERSIONS, repo_id, number)


def commits_went(db: Connection) -> None:
    """Commits, of whomever, were deleted."""
    _set_back(db, _COMMITS)


def versions_went(db: Connection) -> None:
    """Versions, of whomever, were deleted."""
    _set_back(db, _VERSIONS)


def start_anew(db: Connection) -> None:
    """Nothing counts as looked at."""
    for table, _, _ in (_COMMITS, _VERSIONS):
        db.execute(f"DELETE FROM {table}")


_Cursor = tuple[str, str, str]


def _read(db: Connection, cursor: _Cursor, repo_id: int) -> int:
    table, column, _ = cursor
    row = db.execute(f"SELECT {column} FROM {table} WHERE repo_id = ?", (repo_id,)).fetchone()
    return 0 if row is None else int(row[0])


def _write(db: Connection, cursor: _Cursor, repo_id: int, number: int) -> None:
    table, column, _ = cursor
    db.execute(
        f"INSERT INTO {table} (repo_id, {column}) VALUES (?, ?)"
        f" ON CONFLICT (repo_id) DO UPDATE SET {column} = excluded.{column}",
        (repo_id, number),
    )


def _set_back(db: Connection, cursor: _Cursor) -> None:
    table, column, end = cursor
    if db.engine == "sqlite":
        db.execute(f"UPDATE {table} SET {column} = ({end}) WHERE {column} > ({end})")
