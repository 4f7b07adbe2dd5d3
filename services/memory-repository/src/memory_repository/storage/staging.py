"""What worktrees have staged: versions that no commit names yet, and that go when nobody stages them any more."""

from __future__ import annotations

from collections.abc import Mapping

from memory_repository.storage import versions
from thymos.database import Connection

Staged = Mapping[str, int | None]
"""A memory's version, None = deleted."""


def staged(db: Connection, repo_id: int, worktree_id: str) -> dict[str, int | None]:
    """What a worktree has staged, in the order of the memories' ids."""
    rows = db.execute(
        "SELECT memory_id, version_id FROM staged WHERE repo_id = ? AND worktree_id = ? ORDER BY memory_id",
        (repo_id, worktree_id),
    )
    return dict(rows.fetchall())


def put(db: Connection, repo_id: int, worktree_id: str, changes: Staged) -> None:
    """Stage versions, over what is staged of the same memories."""
    before = staged(db, repo_id, worktree_id)
    db.executemany(
        "INSERT INTO staged (repo_id, worktree_id, memory_id, version_id) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repo_id, worktree_id, memory_id) DO UPDATE SET version_id = excluded.version_id",
        [(repo_id, worktree_id, memory_id, version) for memory_id, version in changes.items()],
    )
    _remove(db, repo_id, {name: version for name, version in before.items() if name in changes})


def forget(db: Connection, repo_id: int, worktree_id: str) -> None:
    """Stage nothing any more."""
    before = staged(db, repo_id, worktree_id)
    db.execute("DELETE FROM staged WHERE repo_id = ? AND worktree_id = ?", (repo_id, worktree_id))
    _remove(db, repo_id, before)


def _remove(db: Connection, repo_id: int, changes: Staged) -> None:
    versions.remove_unused(db, repo_id, (version for version in changes.values() if version is not None))
