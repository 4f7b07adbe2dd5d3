"""What memory-repository shows of its store at `/metrics`. Merges and conflicts are among the published messages."""

from __future__ import annotations

from collections.abc import Iterator

from thymos.database import Connection
from thymos.observability.instruments import Figure


def figures(connection: Connection) -> Iterator[Figure]:
    """Repositories, branches, commits and checkouts, of all agents together."""
    commits = connection.execute("SELECT count(*) FROM commits").fetchone()[0]
    repositories = connection.execute("SELECT count(*) FROM repository").fetchone()[0]
    branches = connection.execute("SELECT count(*) FROM ref WHERE type = 'branch'").fetchone()[0]
    worktrees = connection.execute("SELECT count(*) FROM worktree").fetchone()[0]
    yield Figure("thymos_memory_commits_total", commits)
    yield Figure("thymos_memory_repositories", repositories)
    yield Figure("thymos_memory_branches", branches)
    yield Figure("thymos_memory_worktrees_open", worktrees)
